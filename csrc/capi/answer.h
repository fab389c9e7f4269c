// The handle of an answer.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "capi/model.h"
#include "capi/request.h"
#include "qwen3edge.h"
#include "runtime/generation.h"

struct q3e_answer {
  struct Call {
    std::string name, arguments;
    bool complete = false;
  };

  q3e_answer(q3e_model& of_model, const q3e_request& request);
  ~q3e_answer();
  q3e_answer(const q3e_answer&) = delete;
  q3e_answer& operator=(const q3e_answer&) = delete;

  void run(q3e_on_event on_event, void* data);
  // What it said so far as a message of the next request.
  q3e::chat::Value message() const;

  q3e_model& model;
  q3e::Scheduler::Held generation;
  q3e_usage usage{};
  q3e_finish finish = Q3E_FINISH_RUNNING;
  std::vector<int32_t> prompt, tokens;
  std::string content, reasoning;
  std::vector<Call> calls;

 private:
  class Listener;
  void hear(const q3e::News& news, Listener& listener);
  void hear(const q3e::TextPiece& piece, Listener& listener);

  size_t scored_ = 1;  // tokens of the prompt, the first included, which has no log probability
  bool in_call_ = false;
  std::exception_ptr error_;  // of one that failed
};
