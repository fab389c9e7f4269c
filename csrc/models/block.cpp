#include "models/block.h"

namespace q3e {

void add_outer(Model& model, uint32_t rotated) {
  const ModelConfig& c = model.config;
  TensorSpec embedding = matrix("token_embd", c.vocab_size, c.hidden_size, 0);
  embedding.place = c.tied_embeddings ? Place::head : Place::rows;
  TensorSpec norm = vector("output_norm", c.hidden_size), frequencies = vector("rope", rotated / 2);
  frequencies.suffix = ".inverse_frequencies";
  norm.place = frequencies.place = Place::always;
  model.outer = {embedding, norm};
  if (!c.tied_embeddings) {
    TensorSpec head = matrix("output", c.vocab_size, c.hidden_size, 0);
    head.place = Place::head;
    model.outer.push_back(head);
  }
  model.outer.push_back(frequencies);
}

}  // namespace q3e
