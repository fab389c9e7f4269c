#include "models/tensors.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"

namespace q3e {
namespace {

std::string shape(uint32_t rows, uint32_t columns) { return std::to_string(rows) + " x " + std::to_string(columns); }

const char* form_name(Form form) {
  return form == Form::vector ? "'vector'" : form == Form::float_matrix ? "'f32'" : "one for matrices";
}

bool has_form(const TensorView& t, Form form) {
  if (form == Form::float_matrix) return std::string_view(t.format->name) == "f32";
  return (t.format->kind == FormatKind::vector) == (form == Form::vector);
}

}  // namespace

std::vector<ModelTensor> list_tensors(const Model& model) {
  std::vector<ModelTensor> out;
  for (const TensorSpec& spec : model.outer) out.push_back({std::string(spec.name) + spec.suffix, &spec, -1});
  for (const PlacedBlock& placed : model.blocks)
    for (const TensorSpec& spec : placed.block->tensors())
      out.push_back(
          {"blk." + std::to_string(placed.layer) + "." + spec.name + spec.suffix, &spec, static_cast<int32_t>(placed.layer)});
  return out;
}

void check_tensors(const ModelFile& file, const Model& model) {
  const auto fail = [&](const std::string& text) { file.fail(Status::bad_file, text); };
  const std::vector<ModelTensor> expected = list_tensors(model);
  for (const ModelTensor& e : expected) {
    const TensorView& t = file.tensor(e.name);
    if (t.rows != e.spec->rows || t.columns != e.spec->columns)
      fail("tensor '" + e.name + "' has the shape " + shape(t.rows, t.columns) + ", expected " +
           shape(e.spec->rows, e.spec->columns));
    if (!has_form(t, e.spec->form))
      fail("tensor '" + e.name + "' has the block format '" + t.format->name + "', expected " + form_name(e.spec->form));
  }
  if (expected.size() == file.tensors().size()) return;  // names are unique, so all are expected
  for (const TensorView& t : file.tensors())
    if (std::none_of(expected.begin(), expected.end(), [&](const ModelTensor& e) { return t.name == e.name; }))
      fail("unexpected tensor " + quoted(t.name));
}

ModelTensors::ModelTensors(const ModelFile& file, const Model& model)
    : embedding(nullptr), head(nullptr), output_norm(nullptr), frequencies(nullptr), layers(model.config.layers) {
  for (const ModelTensor& each : list_tensors(model)) {
    const TensorView& t = file.tensor(each.name);
    Tensor tensor{each.spec, {}, nullptr, each.layer, 0};
    if (each.spec->form == Form::vector)
      tensor.vector = t.as_vector();
    else
      tensor.matrix = {t.data, t.format, t.rows, t.columns, panel_layout(*t.format, t.columns)};
    all.push_back(tensor);
    in_file.push_back(&t);
  }
  auto next = static_cast<uint32_t>(model.outer.size());
  uint32_t turn = 0;
  for (const PlacedBlock& placed : model.blocks) {
    first.push_back(next);
    uint32_t last_turn = 0;
    ExpertPool pool{{}, {}, 0, placed.block->experts_per_token()};
    for (const TensorSpec& spec : placed.block->tensors()) {
      Tensor& t = all[next++];
      t.turn = turn + spec.turn;
      last_turn = std::max(last_turn, spec.turn);
      if (spec.place == Place::experts) (spec.own_input ? pool.down : pool.gate_up) = t.matrix;
    }
    turn += last_turn + 1;
    if (pool.experts_per_token == 0) continue;
    pool.experts = pool.down.rows / model.config.hidden_size;
    pools.push_back(pool);
  }
  first.push_back(next);
  for (size_t i = 0; i < model.outer.size(); ++i) {
    const TensorSpec& spec = model.outer[i];
    Tensor& t = all[i];
    if (spec.place == Place::head) {
      t.turn = turn;
      head = &t;
    }
    if (std::string_view(spec.name) == "token_embd") embedding = &t;
    if (std::string_view(spec.name) == "output_norm") output_norm = &t;
    if (std::string_view(spec.name) == "rope") frequencies = &t;
  }
}

}  // namespace q3e
