// The engine and its plan.
#include "runtime/engine.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "runtime/draft_plan.h"
#include "runtime/embedding.h"
#include "runtime/numerics.h"
#include "runtime/process_memory.h"
#include "runtime/session_file.h"

namespace q3e::bindings {

namespace {

// Settings by their names in PlanRequest. Python's own are checked before they come here (qwen3edge/settings.py).
PlanRequest plan_request(const py::kwargs& settings) {
  PlanRequest r;
  for (const auto& [key, value] : settings) {
    const auto name = py::cast<std::string>(key);
    const auto is = [&](const char* known, auto& field) {
      if (name == known) field = py::cast<std::remove_reference_t<decltype(field)>>(value);
      return name == known;
    };
    if (is("context", r.context) || is("sequences", r.sequences) || is("draft_tokens", r.draft_tokens) ||
        is("threads", r.threads) || is("memory", r.memory) || is("chunk", r.chunk) || is("program", r.program) ||
        is("later", r.later) || is("snapshots", r.snapshots) || is("min_expert_share", r.min_expert_share))
      continue;
    if (name == "kv")
      r.kv = parse_kv(py::cast<std::string>(value));
    else if (name == "io_uring")
      r.reader = py::cast<bool>(value) ? ReadMethod::uring : ReadMethod::threads;
    else
      throw py::type_error("unexpected setting '" + name + "'");
  }
  return r;
}

py::dict plan_dict(const MemoryPlan& p) {
  const PlanRequest& s = p.settings;
  return py::dict("weights"_a = p.weights, "buffers"_a = p.buffers, "kv_cache"_a = p.kv_cache, "scratch"_a = p.scratch,
                  "program"_a = p.program, "peak"_a = p.peak, "budget"_a = p.budget, "context"_a = s.context,
                  "sequences"_a = s.sequences, "draft_tokens"_a = s.draft_tokens, "chunk"_a = s.chunk, "threads"_a = s.threads,
                  "kv"_a = kv_name(s.kv), "kv_bytes_per_token"_a = p.kv_token_bytes, "pages"_a = p.pages, "layers"_a = p.layers,
                  "streamed_layers"_a = p.residence.streamed_layers, "streams_head"_a = p.residence.streams_head,
                  "streamed"_a = p.streamed, "experts"_a = p.experts, "expert_slots"_a = p.residence.expert_slots,
                  "expert_bytes"_a = p.expert_bytes, "min_expert_share"_a = s.min_expert_share);
}

using EnginePointer = std::unique_ptr<Engine, Engine::Delete>;

// Keeps the mapping alive as long as the engine reads it.
std::shared_ptr<const ModelFile> shared_file(const std::shared_ptr<OpenFile>& f) { return {f, &f->file}; }

// A model that drafts, planned and not loaded yet.
struct PlannedDraft {
  std::shared_ptr<OpenFile> file;
  DraftPlan plan;
};

PlannedDraft planned_draft(const std::shared_ptr<OpenFile>& file, const std::shared_ptr<OpenFile>& model,
                           const py::kwargs& settings) {
  const PlanRequest request = plan_request(settings);
  const WithoutGil released;
  return {file, plan_draft(file->file, file->model, model->file, request)};
}

// Calls Python with what it sees. An exception ends the looking, and is raised when forward returns.
class PythonObserver : public Observer {
 public:
  explicit PythonObserver(py::function callback) : callback_(std::move(callback)) {}
  ~PythonObserver() override {
    const WithGil held;
    callback_ = py::function();
    error_ = nullptr;
  }
  void see(const Observation& o) override {
    const WithGil held;
    if (error_) return;
    try {
      py::array_t<float> values({static_cast<py::ssize_t>(o.tokens), static_cast<py::ssize_t>(o.columns)});
      // NumPy's own copy would let go of the GIL.
      std::copy_n(o.values, values.size(), values.mutable_data());
      // Python code may wait for the GIL anywhere.
      const auto result = py::reinterpret_steal<py::object>(or_wait_for_the_end(
          [&] { return PyObject_CallFunction(callback_.ptr(), "siiO", o.tensor, o.layer, o.expert, values.ptr()); }));
      if (!result) throw py::error_already_set();
    } catch (const std::exception&) {
      error_ = std::current_exception();
    }
  }
  void fail(std::exception_ptr error) override {
    const WithGil held;
    if (!error_) error_ = std::move(error);
  }
  void rethrow() {
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  py::function callback_;
  std::exception_ptr error_;
};

void observe(Engine& engine, const std::optional<py::function>& callback) {
  auto observer = callback ? std::make_shared<PythonObserver>(*callback) : nullptr;
  const WithoutGil released;
  engine.observe(std::move(observer));
}

using Longs = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;

// Throws Error(bad_argument) for what 32 bits do not hold; what the model does not have is the engine's to refuse.
std::vector<int32_t> narrowed(const char* name, const Longs& values) {
  std::vector<int32_t> narrow;
  narrow.reserve(static_cast<size_t>(values.size()));
  for (py::ssize_t i = 0; i < values.size(); ++i) {
    const int64_t value = values.data()[i];
    if (value != static_cast<int32_t>(value))
      fail(std::string(name) + ": expected numbers of 32 bits, found " + std::to_string(value));
    narrow.push_back(static_cast<int32_t>(value));
  }
  return narrow;
}

// Bits of Want; flags are those of logits. A view of other bytes as bool may hold more than 0 and 1.
std::vector<uint8_t> wants(py::array given) {
  const bool flags = given.dtype().kind() == 'b';
  const Longs values(flags ? given.view("uint8") : given);
  std::vector<uint8_t> bits;
  for (py::ssize_t i = 0; i < values.size(); ++i) {
    const int64_t value = flags ? values.data()[i] != 0 : values.data()[i];
    if (value < 0 || value > (kWantLogits | kWantHidden))
      fail("want of batch entry " + std::to_string(i) + ": expected bits of 1 (logits) and 2 (hidden), found " +
           std::to_string(value));
    bits.push_back(static_cast<uint8_t>(value));
  }
  return bits;
}

// Rows in place of tokens: of each entry float32 [hidden_size], or None.
std::vector<Floats> rows_of(const py::object& given, size_t entries, py::ssize_t size) {
  std::vector<Floats> rows;
  for (const py::handle& each : given)
    rows.push_back(each.is_none() ? Floats() : Floats(py::reinterpret_borrow<py::object>(each)));
  if (rows.size() != entries)
    fail("embeddings: expected a row or None for each of " + std::to_string(entries) + " entries, found " +
         std::to_string(rows.size()));
  for (const Floats& row : rows)
    if (row.size() != 0 && (row.ndim() != 1 || row.size() != size))
      fail("embeddings: expected rows of " + std::to_string(size) + " numbers, found one of " + std::to_string(row.size()));
  return rows;
}

// Where states go: a float32 array [rows, hidden_size] of the caller's.
float* place_of(const py::object& hidden, py::ssize_t rows, py::ssize_t size) {
  using Place = py::array_t<float, py::array::c_style>;
  if (hidden.is_none() && rows == 0) return nullptr;
  auto place = py::isinstance<Place>(hidden) ? py::reinterpret_borrow<Place>(hidden) : Place();
  if (place.ndim() != 2 || place.shape(0) != rows || place.shape(1) != size)
    fail("hidden: expected a float32 array of " + std::to_string(rows) + " x " + std::to_string(size) +
         ", as many rows as entries want it");
  return place.mutable_data();
}

// The arguments are converted here: pybind11's own conversion takes an interrupt (Ctrl-C) that meets it for a wrong type.
py::array_t<float> forward(Engine& engine, const py::object& all_tokens, const py::object& all_positions,
                           const py::object& all_slots, const py::object& all_wants, const py::object& rope_positions,
                           const py::object& embeddings, const py::object& hidden, const CancelFlag* cancel) {
  const Longs tokens(all_tokens), positions(all_positions), slots(all_slots);
  const py::array want(all_wants);
  const auto n = static_cast<size_t>(tokens.size());
  for (const py::array* a : std::initializer_list<const py::array*>{&tokens, &positions, &slots, &want})
    if (a->ndim() != 1 || static_cast<size_t>(a->size()) != n)
      fail("batch: expected arrays of one dimension and " + std::to_string(n) + " entries, found " + std::to_string(a->size()) +
           " in " + std::to_string(a->ndim()) + " dimensions");
  const std::vector<int32_t> t = narrowed("tokens", tokens), p = narrowed("positions", positions), s = narrowed("slots", slots);
  const std::vector<uint8_t> bits = wants(want);
  Batch batch{t.data(), p.data(), s.data(), bits.data(), n};
  std::vector<int32_t> axes;
  if (!rope_positions.is_none()) {
    const Longs given(rope_positions);
    if (given.ndim() != 2 || static_cast<size_t>(given.shape(0)) != n || given.shape(1) != 3)
      fail("rope_positions: expected " + std::to_string(n) + " x 3 numbers, one row for each entry");
    axes = narrowed("rope_positions", given);
    batch.rope_positions = axes.data();
  }
  const auto width = static_cast<py::ssize_t>(engine.config().hidden_size);
  std::vector<Floats> rows;
  std::vector<const float*> pointers;
  if (!embeddings.is_none()) {
    rows = rows_of(embeddings, n, width);
    for (const Floats& row : rows) pointers.push_back(row.size() ? row.data() : nullptr);
    batch.embeddings = pointers.data();
  }
  const auto wanting = [&](uint8_t bit) { return std::count_if(bits.begin(), bits.end(), [&](uint8_t w) { return w & bit; }); };
  py::array_t<float> logits({wanting(kWantLogits), static_cast<py::ssize_t>(engine.config().vocab_size)});
  float *out = logits.mutable_data(), *states = place_of(hidden, wanting(kWantHidden), width);
  std::shared_ptr<Observer> observer;
  {
    const WithoutGil released;
    engine.forward(batch, out, states, cancel);
    observer = engine.observer();
  }
  if (const auto python = std::dynamic_pointer_cast<PythonObserver>(observer)) python->rethrow();
  return logits;
}

}  // namespace

void bind_engine(py::module_& m) {
  m.def(
      "plan",
      [](const std::shared_ptr<OpenFile>& f, const py::kwargs& settings) {
        return plan_dict(make_plan(f->file, f->model, plan_request(settings)));
      },
      "file"_a);
  m.attr("NUMERICS_VERSION") = kNumericsVersion;
  m.def("default_budget", &default_budget, "root"_a = "");
  m.def(
      "likelihood",
      [](const std::vector<float>& state, const std::vector<float>& first, const std::vector<float>& second) {
        if (state.size() != first.size() || state.size() != second.size())
          throw Error(Status::bad_argument, "likelihood: expected a state and two rows of one length");
        return likelihood(state, first, second);
      },
      "state"_a, "first"_a, "second"_a);
  m.def(
      "normalized", [](const std::vector<float>& state, size_t dimensions) { return normalized(state, dimensions); }, "state"_a,
      "dimensions"_a);
  py::class_<CancelFlag>(m, "CancelFlag")
      .def(py::init<>())
      .def("set", &CancelFlag::set)
      .def("clear", &CancelFlag::clear)
      .def("is_set", &CancelFlag::is_set);
  py::class_<Engine, EnginePointer>(m, "Engine")
      .def(py::init([](const std::shared_ptr<OpenFile>& f, const std::optional<std::string>& isa, const py::kwargs& settings) {
             return EnginePointer(new Engine(shared_file(f), plan_request(settings), tier(isa)));
           }),
           "file"_a, py::kw_only(), "isa"_a = py::none())
      .def_property_readonly("plan", [](const Engine& e) { return plan_dict(e.plan()); })
      .def_property_readonly(
          "metrics",
          [](Engine& e) {
            const EngineMetrics m = e.metrics();
            return py::dict("bytes_read"_a = m.bytes_read, "wait_seconds"_a = m.wait_seconds, "expert_hits"_a = m.expert_hits,
                            "expert_misses"_a = m.expert_misses, "expert_guesses"_a = m.expert_guesses,
                            "expert_guesses_right"_a = m.expert_guesses_right, "experts_left_out"_a = m.experts_left_out);
          })
      .def_property_readonly("isa", [](const Engine& e) { return isa_name(e.isa()); })
      .def("forward", &forward, "tokens"_a, "positions"_a, "slots"_a, "want"_a, py::kw_only(), "rope_positions"_a = py::none(),
           "embeddings"_a = py::none(), "hidden"_a = py::none(), "cancel"_a = py::none())
      .def("observe", &observe, "callback"_a)
      .def("length", &Engine::length, "slot"_a, GilReleased())
      .def("truncate", &Engine::truncate, "slot"_a, "length"_a, GilReleased())
      .def(
          "snapshot", [](Engine& e, uint32_t slot, const std::vector<int32_t>& tokens) { e.snapshot(slot, tokens); }, "slot"_a,
          "tokens"_a = std::vector<int32_t>(), GilReleased())
      .def(
          "reuse", [](Engine& e, uint32_t slot, const std::vector<int32_t>& tokens) { return e.reuse(slot, tokens); }, "slot"_a,
          "tokens"_a, GilReleased())
      .def(
          "keep", [](Engine& e, uint32_t slot, const std::vector<int32_t>& tokens) { e.keep(slot, tokens); }, "slot"_a,
          "tokens"_a, GilReleased())
      .def("share", &Engine::share, "source"_a, "target"_a, "length"_a = UINT32_MAX, GilReleased())
      .def("head_row", &Engine::head_row, "token"_a, GilReleased())
      .def("clear_prefixes", &Engine::clear_prefixes, GilReleased())
      .def(
          "save_session",
          [](Engine& e, const std::vector<int32_t>& tokens, const py::object& path, const py::bytes& note) {
            const std::string where = path_bytes(path), text = note;
            const WithoutGil released;
            save_session(e, tokens, text, where);
          },
          "tokens"_a, "path"_a, "note"_a)
      .def(
          "load_session",
          [](Engine& e, const py::object& path) {
            const std::string where = path_bytes(path);
            SavedSession saved;
            {
              const WithoutGil released;
              saved = load_session(e, where);
            }
            return py::make_tuple(std::move(saved.tokens), py::bytes(saved.note));
          },
          "path"_a)
      .def("available_pages", &Engine::available_pages, GilReleased());
  py::class_<PlannedDraft>(m, "PlannedDraft")
      .def(py::init(&planned_draft), "file"_a, "model"_a)
      .def_property_readonly("file", [](const PlannedDraft& d) { return d.file; })
      .def_property_readonly("context_length", [](const PlannedDraft& d) { return d.file->model.config.context_length; })
      .def_property_readonly("nbytes", [](const PlannedDraft& d) { return d.plan.bytes; })
      .def("open",
           [](const PlannedDraft& d) { return EnginePointer(new Engine(shared_file(d.file), d.plan.request, best_isa())); });
}

}  // namespace q3e::bindings
