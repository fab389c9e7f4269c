// Runs a chat template: what jinja2 puts out for the same template, variables and bounds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "template/arguments.h"
#include "template/budget.h"
#include "template/level.h"
#include "template/loop.h"
#include "template/tree.h"
#include "template/value.h"

namespace q3e::chat {

// For one rendering.
class Interpreter {
 public:
  using Variables = std::vector<std::pair<std::string, Value>>;
  // most: characters that come out, at most kMostCharacters.
  Interpreter(const Tree& tree, const Variables& variables, uint64_t most);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // Throws Failure if the template refuses the variables, fails or leaves its bounds; Error(unsupported_model) where only jinja2
  // goes on.
  std::string run();

 private:
  enum class Flow : uint8_t { next, leave, again };
  // Names and values of a block; what is not in it is looked for in the one around it.
  struct Scope {
    const Scope* around = nullptr;
    std::vector<std::pair<uint32_t, Value>> values;
    void set(uint32_t name, Value value);
  };
  struct Output {
    std::string text;
    uint64_t characters = 0, most = kMostCharacters;
  };

  Flow run(const Node& statement, Scope& scope);
  Flow run_block(const Node& block, Scope& scope);
  Flow run_loop(const Node& loop, Scope& scope);
  void run_set_block(const Node& set, Scope& scope);
  void assign(const Node& target, Value value, Scope& scope);
  void put(const Value& value);
  std::string captured(const Node& block, Scope& scope);

  Value evaluate(const Node& expression, Scope& scope);
  Value look_up(uint32_t name, const Scope& scope) const;
  std::vector<Value> all(const Node& node, size_t from, Scope& scope);
  Value make_dict(const Node& node, Scope& scope);
  Value compare(const Node& comparison, Scope& scope);
  Value call(const Node& call, Scope& scope);
  Value call_macro(const Node& macro, const Arguments& arguments);
  Value call_function(Function function, const Arguments& arguments);
  Value map_filter(const Node& node, Scope& scope);
  Value choose(const Node& node, Scope& scope);

  const Tree& tree_;
  Budget budget_;
  Scope globals_, root_;
  Output output_;
  Output* out_ = &output_;
  std::vector<Value> captures_;
  Depth depth_;
  // What may hold itself through a namespace; emptied at the end.
  std::vector<std::shared_ptr<Namespace>> spaces_;
  std::vector<std::shared_ptr<Loop>> loops_;
};

}  // namespace q3e::chat
