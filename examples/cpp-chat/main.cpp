// A chat: cpp-chat MODEL.q3e [SEED]
// Reads questions, one a line, and streams the answers; thoughts go to stderr. An answer that repeats one line three times is
// stopped.
#include <exception>
#include <iostream>
#include <string>

#include "qwen3edge.hpp"

namespace {

// Ends what goes round in circles.
class Repetition {
 public:
  bool found(std::string_view text) {
    for (const char c : text) {
      if (c != '\n') {
        line_ += c;
        continue;
      }
      count_ = !line_.empty() && line_ == last_ ? count_ + 1 : 0;
      last_ = std::exchange(line_, {});
      if (count_ == 2) return true;
    }
    return false;
  }

 private:
  std::string line_, last_;
  int count_ = 0;
};

void answer(const qwen3edge::Model& model, qwen3edge::Request& request) {
  qwen3edge::Answer answer = model.answer(request);
  Repetition repetition;
  const bool ended = answer.run([&](const qwen3edge::Event& event) {
    if (event.kind() == Q3E_EVENT_REASONING) std::cerr << event.text();
    if (event.kind() != Q3E_EVENT_CONTENT) return true;
    std::cout << event.text() << std::flush;
    return !repetition.found(event.text());
  });
  std::cout << '\n';
  if (!ended) std::cerr << "(stopped)\n";
  request.add(answer);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::cerr << "usage: cpp-chat MODEL.q3e [SEED]\n";
    return 2;
  }
  try {
    const qwen3edge::Model model(argv[1]);
    qwen3edge::Request request;
    if (argc == 3) request.seed(std::stoull(argv[2]));
    for (std::string line; std::getline(std::cin, line);) {
      request.add("user", line);
      answer(model, request);
    }
  } catch (const std::exception& error) {
    std::cerr << "cpp-chat: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
