// The syntax tree of a chat template, as convert stores it in a model file: its only parser.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "template/node.h"

namespace q3e::chat {

inline constexpr uint32_t kTreeVersion = 1;

class Tree {
 public:
  // source: the template that the tree must be of. Throws Error(bad_file) for damaged bytes and another template's tree,
  // Error(unsupported_model) for another version.
  Tree(std::span<const uint8_t> bytes, std::string_view source);
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  // Names that are no variables at its begin, even where there are some: the template sets them.
  const std::vector<uint32_t>& own_names() const { return own_names_; }
  const Node& root() const { return root_; }  // a block
  size_t string_count() const { return strings_.size(); }
  const Value& string(uint32_t index) const { return strings_[index]; }
  const std::string& name(uint32_t index) const { return strings_[index].str(); }

 private:
  std::vector<Value> strings_;
  std::vector<uint32_t> own_names_;
  Node root_;
};

}  // namespace q3e::chat
