// The one table of a model's tensors: their names in the file, in the order of the blocks, and where each is.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "io/model_file.h"
#include "models/block.h"

namespace q3e {

// A row of the table. layer: -1 outside of layers.
struct ModelTensor {
  std::string name;  // in the file
  const TensorSpec* spec;
  int32_t layer;
};

// Every tensor of a model: those outside of layers, then those of each block.
std::vector<ModelTensor> list_tensors(const Model& model);

// Holds the tensors of a file against the table. Throws Error(bad_file) for one that is absent, unexpected or of another shape.
void check_tensors(const ModelFile& file, const Model& model);

// The tensors of a model as they lie in its file, in the order of the table.
struct ModelTensors {
  std::vector<Tensor> all;
  std::vector<const TensorView*> in_file;                      // of each in `all`
  std::vector<uint32_t> first;                                 // of each block in `all`, and the number of all
  const Tensor *embedding, *head, *output_norm, *frequencies;  // the first two the same when tied
  std::vector<ExpertPool> pools;                               // of the blocks that have one
  uint32_t layers;

  // The file must have passed check_tensors. Both must outlive this.
  ModelTensors(const ModelFile& file, const Model& model);
  ModelTensors(const ModelTensors&) = delete;
  ModelTensors& operator=(const ModelTensors&) = delete;
};

}  // namespace q3e
