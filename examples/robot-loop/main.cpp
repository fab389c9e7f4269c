// What a robot does next, in time: robot-loop MODEL.q3e MILLISECONDS [SEED]
// Reads what its sensors see, a line a turn, and writes an action for each. The model thinks for as many tokens as the deadline
// has room for by the speed of the turns before; a mask holds its answer to the actions. A turn that is late all the same is
// cancelled, and the robot stops.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "qwen3edge.hpp"

namespace {

using Clock = std::chrono::steady_clock;

const std::vector<std::string> kActions = {"forward", "left", "right", "stop"};
constexpr uint32_t kMostThoughts = 128;
constexpr double kReserve = 1.5;  // of the time that a turn's other parts took before

// Holds an answer to one of the actions once its thoughts are over.
class ActionMask {
 public:
  explicit ActionMask(const qwen3edge::Model& model) : model_(model) {
    const std::vector<int32_t> end = model.tokenize("</think>", true);
    if (end.size() != 1) throw std::runtime_error("expected a model that thinks, found one without </think>");
    end_of_thoughts_ = end[0];
    for (int32_t token = 0; token < static_cast<int32_t>(model.vocabulary()); ++token)
      if (model.is_stop_token(token)) stops_.push_back(token);
  }

  bool operator()(std::span<const int32_t> tokens, std::span<uint32_t> words) {
    for (const int32_t& token : tokens) {
      if (!thinks_) said_ += model_.detokenize({&token, 1});
      if (token == end_of_thoughts_) thinks_ = false;
    }
    if (thinks_) return false;
    const auto allow = [&](int32_t token) { words[token / 32] |= 1u << (token % 32); };
    for (const std::string& action : kActions) {
      const std::string whole = "\n\n" + action;
      if (said_ == whole)
        std::for_each(stops_.begin(), stops_.end(), allow);
      else if (whole.starts_with(said_))
        allow(model_.tokenize(whole.substr(said_.size()))[0]);
    }
    return true;
  }

 private:
  const qwen3edge::Model& model_;
  int32_t end_of_thoughts_ = 0;
  std::vector<int32_t> stops_;
  std::string said_;
  bool thinks_ = true;
};

// Cancels an answer at a time, unless it is gone by then.
class Deadline {
 public:
  Deadline(qwen3edge::Answer& answer, Clock::time_point time)
      : thread_([this, &answer, time] {
          std::unique_lock lock(mutex_);
          if (!ended_.wait_until(lock, time, [this] { return over_; })) answer.cancel();
        }) {}
  ~Deadline() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    ended_.notify_one();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool over_ = false;
  std::thread thread_;
};

class Loop {
 public:
  Loop(const std::string& path, std::chrono::milliseconds limit, uint64_t seed)
      : model_(path, qwen3edge::Settings().context(512)), limit_(limit), seed_(seed) {
    decide("nothing ahead", 0, Clock::now() + std::chrono::hours(1));  // the speed, before the robot moves
  }

  // The action, and on stderr what it took.
  std::string turn(const std::string& seen) {
    const Clock::time_point begin = Clock::now();
    const uint32_t thoughts = budget();
    const std::string action = decide(seen, thoughts, begin + limit_);
    const double took = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    std::fprintf(stderr, "%s, %.0f ms, %u of %u tokens of thoughts\n", action.empty() ? "late" : "in time", took, thought_,
                 thoughts);
    return action.empty() ? "stop" : action;
  }

 private:
  // Tokens of thoughts that fit: what the deadline leaves beside the prompt and the action, of which the turn before tells.
  uint32_t budget() const {
    const double left = std::chrono::duration<double>(limit_).count() - kReserve * others_;
    return left <= 0 ? 0 : static_cast<uint32_t>(std::min<double>(left / (kReserve * token_), kMostThoughts));
  }

  std::string decide(const std::string& seen, uint32_t thoughts, Clock::time_point deadline) {
    qwen3edge::Request request;
    request.add("system", "You steer a robot. Answer what it does next: forward, left, right or stop.").add("user", seen);
    request.thinking(true).thinking_budget(thoughts).seed(seed_).mask(ActionMask(model_));
    qwen3edge::Answer answer = model_.answer(request);
    bool ended;
    {
      const Deadline watch(answer, deadline);
      ended = answer.run() && Clock::now() <= deadline;
    }
    const q3e_usage usage = answer.usage();
    thought_ = usage.reasoning_tokens;
    if (!ended) {
      others_ *= 2;  // for the turns to come, until one is in time
      return "";
    }
    token_ = usage.decode_seconds / std::max(1u, usage.completion_tokens);
    others_ = usage.prefill_seconds + token_ * (usage.completion_tokens - usage.reasoning_tokens);
    return std::string(answer.content());
  }

  qwen3edge::Model model_;
  std::chrono::milliseconds limit_;
  uint64_t seed_;
  uint32_t thought_ = 0;
  double token_ = 0, others_ = 0;  // seconds: of a token; of all but the thoughts
};

// In digits alone.
uint64_t number(const std::string& text) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != text.npos)
    throw std::runtime_error("expected a whole number, found '" + text + "'");
  return std::stoull(text);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) {
    std::cerr << "usage: robot-loop MODEL.q3e MILLISECONDS [SEED]\n";
    return 2;
  }
  try {
    Loop loop(argv[1], std::chrono::milliseconds(number(argv[2])), argc == 4 ? number(argv[3]) : 0);
    for (std::string seen; std::getline(std::cin, seen);) std::cout << loop.turn(seen) << std::endl;
  } catch (const std::exception& error) {
    std::cerr << "robot-loop: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
