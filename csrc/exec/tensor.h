// The tensors of a model: what is stated of each before there is a file, and where each is while the model runs.
#pragma once

#include <cstdint>

#include "ukernels/kernels.h"

namespace q3e {

// Where a tensor is kept, which decides what the plan counts and what may be streamed.
enum class Place : uint8_t {
  always,   // read through the map by every pass: vectors outside of layers
  rows,     // the embedding: some rows a pass
  layer,    // with its layer, which is resident or read into a buffer when its turn comes
  experts,  // a pool of experts of its layer: all resident, or some of them in slots
  head,     // the last matrix, resident or read in parts
};

// What a tensor must be in the file.
enum class Form : uint8_t {
  matrix,        // of any block format
  float_matrix,  // of f32: small, and too sensitive to be rounded
  vector,        // float32
};

struct TensorSpec {
  const char* name;  // in the file, where `suffix` follows, and where a tensor of a layer stands behind "blk.N."
  Form form;
  uint32_t rows, columns;  // outputs and inputs of a matrix; 1 and the size of a vector
  Place place = Place::layer;
  // The order in which a block reads its matrices, from 0: those of one turn are handed out together, and while they are computed
  // the next turn's are asked for. Not for pools: which experts are read is known late.
  uint32_t turn = 0;
  bool alternating = false;  // with the other matrix of its turn: a thread reads some rows of one, then of the other
  bool own_input = false;    // multiplies rows that its block keeps and rounds by itself
  const char* suffix = ".weight";
};

// A tensor at work.
struct Tensor {
  const TensorSpec* spec = nullptr;
  MatrixView matrix;              // of a matrix
  const float* vector = nullptr;  // of a vector: [columns]
  int32_t layer = -1;             // -1: outside of layers
  uint32_t turn = 0;              // of the whole model
};

}  // namespace q3e
