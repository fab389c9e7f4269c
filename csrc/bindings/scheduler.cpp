// Many answers at once, over the core's engine or over one that is written in Python.
#include "runtime/scheduler.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "exec/prefix_cache.h"
#include "runtime/engine.h"

namespace q3e::bindings {

namespace {

// Whether an interrupt (Ctrl-C) ended a pass that this thread ran.
thread_local bool interrupted = false;

// The core tells a cancelled pass by its status.
template <class F>
auto translated(F&& f) {
  try {
    return f();
  } catch (py::error_already_set& e) {
    if (e.matches(py::module_::import("qwen3edge.errors").attr("CancelledError"))) throw Error(Status::cancelled, e.what());
    if (e.matches(PyExc_KeyboardInterrupt)) {  // the answers go on; whoever reads in this thread is told
      interrupted = true;
      throw Error(Status::cancelled, "interrupted");
    }
    throw;
  }
}

// An engine of another device: an object with `plan`, `forward`, `length` and `truncate`, as _core.Engine has them. Its sequences
// share no pages: what was kept stays in its sequence, and a prompt that begins alike gets that one.
class PythonEngine : public BatchEngine {
 public:
  PythonEngine(py::object engine, uint32_t vocabulary) : engine_(std::move(engine)) {
    const py::object plan = engine_.attr("plan");
    const auto of = [&](const char* name) { return py::cast<uint32_t>(plan[name]); };
    limits_ = {of("sequences"), of("context"), of("chunk"), vocabulary, kPageTokens, 0, 0};
    limits_.pages = limits_.sequences * limits_.pages_for(limits_.context);
    if (py::cast<bool>(plan.attr("__contains__")("draft_tokens"))) limits_.draft_tokens = of("draft_tokens");
    kept_.resize(limits_.sequences);
  }
  ~PythonEngine() override {
    const WithGil held;
    engine_ = py::none();
  }

  EngineLimits limits() const override { return limits_; }

  void forward(const Batch& batch, float* logits, float*, const CancelFlag* cancel) override {
    const WithGil held;
    translated([&] {
      const auto n = static_cast<py::ssize_t>(batch.count);
      py::list want;
      py::ssize_t rows = 0;
      for (size_t i = 0; i < batch.count; ++i) {
        want.append(py::bool_(batch.want[i] & kWantLogits));
        rows += batch.want[i] & kWantLogits;
      }
      const auto ints = [&](const int32_t* values) { return std::vector<int32_t>(values, values + n); };
      const py::object result = engine_.attr("forward")(ints(batch.tokens), ints(batch.positions), ints(batch.sequences), want,
                                                        "cancel"_a = py::cast(cancel, py::return_value_policy::reference));
      const Floats found(result);
      if (found.size() != rows * static_cast<py::ssize_t>(limits_.vocabulary))
        fail("forward: expected " + std::to_string(rows) + " x " + std::to_string(limits_.vocabulary) + " logits, found " +
             std::to_string(found.size()));
      std::copy_n(found.data(), found.size(), logits);
    });
  }

  uint32_t length(uint32_t sequence) override {
    const WithGil held;
    return translated([&] { return py::cast<uint32_t>(engine_.attr("length")(sequence)); });
  }

  // To nothing: it stays as it is, and what was kept of it can be used again.
  uint32_t truncate(uint32_t sequence, uint32_t length) override { return length == 0 ? 0 : cut(sequence, length); }

  uint32_t choose(std::span<const uint32_t> free, std::span<const int32_t> tokens) override {
    return *std::max_element(free.begin(), free.end(),
                             [&](uint32_t a, uint32_t b) { return shared(a, tokens) < shared(b, tokens); });
  }

  uint32_t reuse(uint32_t sequence, std::span<const int32_t> tokens) override {
    const uint32_t length = tokens.empty() ? 0 : cut(sequence, shared(sequence, tokens.first(tokens.size() - 1)));
    if (length == 0) cut(sequence, 0);
    kept_[sequence].clear();
    return length;
  }

  void keep(uint32_t sequence, std::span<const int32_t> tokens) override { kept_[sequence].assign(tokens.begin(), tokens.end()); }

  uint32_t available_pages() override { return limits_.pages; }

 private:
  static constexpr uint32_t kPageTokens = 64;

  uint32_t shared(uint32_t sequence, std::span<const int32_t> tokens) const { return common_length(kept_[sequence], tokens); }

  uint32_t cut(uint32_t sequence, uint32_t length) {
    const WithGil held;
    return translated([&] {
      const auto present = py::cast<uint32_t>(engine_.attr("length")(sequence));
      return present <= length ? present : py::cast<uint32_t>(engine_.attr("truncate")(sequence, length));
    });
  }

  py::object engine_;
  EngineLimits limits_;
  std::vector<std::vector<int32_t>> kept_;  // of each sequence
};

// An engine of the core, or one in Python.
class AnyEngine {
 public:
  AnyEngine(py::object engine, uint32_t vocabulary) : engine_(std::move(engine)) {
    if (!engine_.is_none() && !py::isinstance<Engine>(engine_)) python_ = std::make_unique<PythonEngine>(engine_, vocabulary);
  }
  // Null of None.
  BatchEngine* get() const {
    if (python_) return python_.get();
    return engine_.is_none() ? nullptr : &py::cast<Engine&>(engine_);
  }
  void release() {
    python_.reset();
    engine_ = py::none();
  }

 private:
  py::object engine_;  // kept alive
  std::unique_ptr<PythonEngine> python_;
};

// A scheduler and what it drives.
struct OwnScheduler {
  AnyEngine engine, draft;
  Scheduler scheduler;

  OwnScheduler(const py::object& e, const py::object& d, uint32_t vocabulary, uint32_t most_waiting)
      : engine(e, vocabulary), draft(d, vocabulary), scheduler(*engine.get(), draft.get(), most_waiting) {}
};

// An answer whose reader is a Python object.
struct OwnGeneration {
  std::shared_ptr<OwnScheduler> own;
  std::shared_ptr<Generation> generation;

  OwnGeneration(std::shared_ptr<OwnScheduler> o, std::shared_ptr<Generation> g) : own(std::move(o)), generation(std::move(g)) {}
  ~OwnGeneration() { generation->abandon(); }
  OwnGeneration(const OwnGeneration&) = delete;
  OwnGeneration& operator=(const OwnGeneration&) = delete;
};

// A grammar in Python: a callable that gets the tokens since its last call and gives the words of a mask, or None. With a method
// `rewind`, which gets a number of tokens, it can go back.
class PythonConstraint : public Constraint {
 public:
  explicit PythonConstraint(py::object allow) : allow_(std::move(allow)), rewinds_(py::hasattr(allow_, "rewind")) {}
  ~PythonConstraint() override {
    const WithGil held;
    allow_ = py::object();
  }

  std::optional<TokenMask> allow(std::span<const int32_t> tokens) override {
    const WithGil held;
    words_ = allow_(py::cast(std::vector<int32_t>(tokens.begin(), tokens.end())));
    return mask_of(words_);
  }
  bool rewinds() const override { return rewinds_; }
  void rewind(size_t count) override {
    const WithGil held;
    allow_.attr("rewind")(count);
  }

 private:
  py::object allow_, words_;
  const bool rewinds_;
};

py::list listed(const std::vector<Logprobs>& logprobs) {
  py::list all;
  for (const Logprobs& each : logprobs) all.append(pair_of(each));
  return all;
}

const char* finish_name(Finish finish) {
  static constexpr const char* kNames[] = {nullptr, "stop", "tool_calls", "max_tokens", "context", "cancelled", "error"};
  return kNames[static_cast<int>(finish)];
}

// What is new, or None after the end.
py::object next(OwnGeneration& g) {
  constexpr std::chrono::milliseconds kPatience{50};  // an interrupt (Ctrl-C) is looked for so often
  News news;
  for (;;) {
    bool found = false, ended = false;
    {
      const WithoutGil released;
      found = g.own->scheduler.next(*g.generation, news, kPatience);
      ended = !found && g.own->scheduler.ended(*g.generation);
    }
    if (found) return py::cast(std::move(news));
    if (ended) return py::none();
    if (std::exchange(interrupted, false)) PyErr_SetNone(PyExc_KeyboardInterrupt);
    if (PyErr_Occurred() || PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

}  // namespace

void bind_scheduler(py::module_& m) {
  py::class_<News>(m, "News")
      .def_readonly("tokens", &News::tokens)
      .def_property_readonly("logprobs", [](const News& n) { return listed(n.logprobs); })
      .def_property_readonly("prompt_logprobs", [](const News& n) { return listed(n.prompt_logprobs); })
      .def_property_readonly("pieces", [](const News& n) { return bindings::listed(n.pieces); })
      .def_readonly("state", &News::state)
      .def_property_readonly("finish", [](const News& n) { return finish_name(n.finish); })
      .def_readonly("stop_string", &News::stop_string)
      .def_readonly("reasoning", &News::reasoning)
      .def_property_readonly("computed_tokens", [](const News& n) { return n.usage.computed_tokens; })
      .def_property_readonly("usage",
                             [](const News& n) {
                               const Usage& u = n.usage;
                               return py::dict("prompt_tokens"_a = u.prompt_tokens, "cached_tokens"_a = u.cached_tokens,
                                               "completion_tokens"_a = u.completion_tokens,
                                               "reasoning_tokens"_a = u.reasoning_tokens, "queue_seconds"_a = u.queue_seconds,
                                               "prefill_seconds"_a = u.prefill_seconds, "decode_seconds"_a = u.decode_seconds);
                             })
      .def("raise_error", [](const News& n) {
        if (n.error) std::rethrow_exception(n.error);
      });
  py::class_<OwnGeneration>(m, "Generation")
      .def("next", &next)
      .def(
          "ready", [](OwnGeneration& g) { return g.own->scheduler.ready(*g.generation); }, GilReleased())
      .def("abandon", [](OwnGeneration& g) { g.generation->abandon(); })
      .def("poll",
           [](OwnGeneration& g) -> py::object {
             News news;
             bool found = false;
             {
               const WithoutGil released;
               found = g.own->scheduler.poll(*g.generation, news);
             }
             return found ? py::cast(std::move(news)) : py::none();
           })
      .def("cancel", [](OwnGeneration& g) { g.own->scheduler.cancel(*g.generation); }, GilReleased());
  py::class_<OwnScheduler, std::shared_ptr<OwnScheduler>>(m, "Scheduler")
      .def(py::init([](const py::object& engine, uint32_t vocabulary, const py::object& draft, uint32_t most_waiting) {
             return std::make_shared<OwnScheduler>(engine, draft, vocabulary, most_waiting);
           }),
           "engine"_a.none(false), "vocabulary"_a, py::kw_only(), "draft"_a = py::none(), "most_waiting"_a = 1024)
      .def(
          "submit",
          [](const std::shared_ptr<OwnScheduler>& own, std::vector<int32_t> prompt, std::shared_ptr<Sampler> sampler,
             uint32_t max_tokens, std::vector<int32_t> stop_tokens, std::shared_ptr<Bpe> texts, bool reasoning, bool verbatim,
             const py::object& tools, const std::vector<py::str>& stops, std::optional<uint32_t> logprobs,
             std::optional<uint32_t> prompt_logprobs, py::object allow, std::optional<uint32_t> thinking_budget,
             std::vector<int32_t> end_of_thoughts, std::vector<uint32_t> boundaries) {
            GenerationRequest request{std::move(prompt),
                                      std::move(sampler),
                                      max_tokens,
                                      std::move(stop_tokens),
                                      std::move(texts),
                                      reasoning,
                                      verbatim,
                                      tools_of(tools),
                                      encoded(stops),
                                      logprobs,
                                      prompt_logprobs,
                                      nullptr,
                                      thinking_budget,
                                      std::move(end_of_thoughts),
                                      false,
                                      std::move(boundaries)};
            if (!allow.is_none()) request.constraint = std::make_shared<PythonConstraint>(std::move(allow));
            std::shared_ptr<Generation> generation;
            {
              const WithoutGil released;
              generation = own->scheduler.submit(std::move(request));
            }
            return std::make_unique<OwnGeneration>(own, std::move(generation));
          },
          "prompt"_a, "sampler"_a.none(false), py::kw_only(), "max_tokens"_a = 0, "stop_tokens"_a = std::vector<int32_t>(),
          "texts"_a = py::none(), "reasoning"_a = false, "verbatim"_a = false, "tools"_a = py::none(),
          "stops"_a = std::vector<py::str>(), "logprobs"_a = py::none(), "prompt_logprobs"_a = py::none(), "allow"_a = py::none(),
          "thinking_budget"_a = py::none(), "end_of_thoughts"_a = std::vector<int32_t>(),
          "boundaries"_a = std::vector<uint32_t>())
      .def(
          "submit_state",
          [](const std::shared_ptr<OwnScheduler>& own, std::vector<int32_t> prompt) {
            GenerationRequest request;
            request.prompt = std::move(prompt);
            request.state = true;
            const WithoutGil released;
            return std::make_unique<OwnGeneration>(own, own->scheduler.submit(std::move(request)));
          },
          "prompt"_a)
      .def(
          "advance",
          [](OwnScheduler& s, uint32_t milliseconds) { return s.scheduler.advance(std::chrono::milliseconds(milliseconds)); },
          "milliseconds"_a, GilReleased())
      .def(
          "take_sequence", [](OwnScheduler& s) { return s.scheduler.take_sequence(); }, GilReleased())
      .def(
          "give_sequence", [](OwnScheduler& s, uint32_t sequence) { s.scheduler.give_sequence(sequence); }, "sequence"_a,
          GilReleased())
      .def("close",
           [](OwnScheduler& s) {
             {
               const WithoutGil released;
               s.scheduler.close();
             }
             s.engine.release();  // a closed scheduler asks them for nothing
             s.draft.release();
           })
      .def_property_readonly("counts", [](OwnScheduler& s) {
        Scheduler::Counts c{};
        {
          const WithoutGil released;
          c = s.scheduler.counts();
        }
        return py::dict("running"_a = c.running, "waiting"_a = c.waiting, "free_sequences"_a = c.free_sequences,
                        "steps"_a = c.steps, "preemptions"_a = c.preemptions, "drafted"_a = c.drafted,
                        "accepted_drafts"_a = c.accepted_drafts);
      });
}

}  // namespace q3e::bindings
