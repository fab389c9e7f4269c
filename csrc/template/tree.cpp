#include "template/tree.h"

#include <cstring>
#include <utility>

#include "io/crc32.h"
#include "template/arithmetic.h"
#include "template/characters.h"
#include "template/failure.h"
#include "template/filters.h"
#include "template/limits.h"
#include "template/tree_bytes.h"

namespace q3e::chat {
namespace {

bool is_statement(NodeKind kind) {
  switch (kind) {
    case NodeKind::text:
    case NodeKind::print:
    case NodeKind::choice:
    case NodeKind::loop:
    case NodeKind::set:
    case NodeKind::set_block:
    case NodeKind::macro:
    case NodeKind::scope:
    case NodeKind::leave:
    case NodeKind::again:
      return true;
    default:
      return false;
  }
}

class Reader : public TreeBytes {
 public:
  Reader(std::span<const uint8_t> bytes, std::vector<Value>& strings) : TreeBytes(bytes), strings_(strings) {}

  void read_strings() {
    const uint64_t count = count_of_items();
    for (uint64_t i = 0; i < count; ++i) {
      std::string text = bytes_with_size();
      if (!is_text(text)) damaged("expected strings in UTF-8");
      strings_.push_back(Value::text(std::move(text)));
    }
  }

  std::vector<uint32_t> names() {
    std::vector<uint32_t> out;
    for (uint64_t left = count_of_items(); left > 0; --left) out.push_back(name());
    return out;
  }

  // Of statements; the kind is no part of the bytes.
  Node block() {
    Node node = begin(NodeKind::block);
    const uint64_t count = count_of_items();
    for (uint64_t i = 0; i < count; ++i) node.kids.push_back(statement());
    return end(std::move(node));
  }

 private:
  uint32_t name() {
    const uint64_t index = number();
    if (index >= strings_.size()) damaged("expected a string below " + std::to_string(strings_.size()));
    return static_cast<uint32_t>(index);
  }

  Node begin(NodeKind kind) {
    if (++count_ > kMostNodes) damaged("expected at most " + std::to_string(kMostNodes) + " nodes");
    if (++depth_ > kMostTreeDepth) damaged("expected nodes at most " + std::to_string(kMostTreeDepth) + " deep");
    Node node;
    node.kind = kind;
    return node;
  }
  Node end(Node node) {
    --depth_;
    node.kids.shrink_to_fit();
    return node;
  }

  Node statement() {
    const auto kind = static_cast<NodeKind>(byte());
    if (!is_statement(kind)) unknown("a statement", kind);
    Node node = begin(kind);
    const auto add = [&](Node kid) { node.kids.push_back(std::move(kid)); };
    switch (kind) {
      case NodeKind::text:
        node.value = strings_[name()];
        break;
      case NodeKind::print:
        add(expression());
        break;
      case NodeKind::choice:
        for (uint64_t left = count_of_items(); left > 0; --left) {
          Node one = begin(NodeKind::branch);
          one.kids.push_back(expression_or_absent());
          one.kids.push_back(block());
          add(end(std::move(one)));
        }
        break;
      case NodeKind::loop:
        add(target());
        add(expression());
        add(expression_or_absent());
        ++loops_;
        add(block());
        --loops_;
        add(block());
        node.name = name();  // "loop"
        break;
      case NodeKind::set:
        add(target());
        add(expression());
        break;
      case NodeKind::set_block: {
        add(target());
        ++captures_;
        add(expression());
        --captures_;
        const uint32_t loops = std::exchange(loops_, 0);
        add(block());
        loops_ = loops;
        break;
      }
      case NodeKind::macro: {
        node.name = name();
        const uint32_t loops = std::exchange(loops_, 0);
        add(block());
        loops_ = loops;
        for (uint64_t left = count_of_items(); left > 0; --left) add(named(NodeKind::parameter));
        break;
      }
      case NodeKind::scope:
        add(block());
        break;
      default:  // leave, again
        if (loops_ == 0) damaged("expected break and continue inside loops");
    }
    return end(std::move(node));
  }

  Node named(NodeKind kind) {
    Node node = begin(kind);
    node.name = name();
    node.kids.push_back(kind == NodeKind::parameter ? expression_or_absent() : expression());
    return end(std::move(node));
  }

  Node target() {
    const auto kind = static_cast<NodeKind>(byte());
    Node node = begin(kind);
    switch (kind) {
      case NodeKind::to_name:
        node.name = name();
        break;
      case NodeKind::to_attribute:
        node.name = name();
        node.value = strings_[name()];
        break;
      case NodeKind::to_several:
        for (uint64_t left = count_of_items(); left > 0; --left) node.kids.push_back(target());
        break;
      default:
        unknown("a target", kind);
    }
    return end(std::move(node));
  }

  Node expression() {
    Node node = expression_or_absent();
    if (node.kind == NodeKind::absent) damaged("expected an expression, found none");
    return node;
  }

  Node expression_or_absent() {
    const auto kind = static_cast<NodeKind>(byte());
    Node node = begin(kind);
    const auto add = [&](uint64_t count, bool may_be_absent = false) {
      for (uint64_t i = 0; i < count; ++i) node.kids.push_back(may_be_absent ? expression_or_absent() : expression());
    };
    switch (kind) {
      case NodeKind::absent:
        break;
      case NodeKind::none:
        node.value = Value::none();
        break;
      case NodeKind::true_value:
      case NodeKind::false_value:
        node.value = Value(kind == NodeKind::true_value);
        break;
      case NodeKind::integer: {
        const uint64_t zigzag = number();
        node.value = Value(static_cast<int64_t>(zigzag >> 1) ^ -static_cast<int64_t>(zigzag & 1));
        break;
      }
      case NodeKind::real: {
        const uint64_t low = fixed(), bits = low | static_cast<uint64_t>(fixed()) << 32;
        double value = 0;
        std::memcpy(&value, &bits, sizeof value);
        node.value = Value(value);
        break;
      }
      case NodeKind::string:
        node.value = strings_[name()];
        break;
      case NodeKind::missing:
        node.value = Value::undefined(strings_[name()].str());
        break;
      case NodeKind::name:
        node.name = name();
        break;
      case NodeKind::list:
      case NodeKind::tuple:
      case NodeKind::concatenation:
        add(count_of_items());
        break;
      case NodeKind::dict:
        for (uint64_t left = count_of_items(); left > 0; --left) {
          add(1);
          if (node.kids.back().kind != NodeKind::string) damaged("expected strings as a dict's keys");
          add(1);
        }
        break;
      case NodeKind::condition:
        add(3);
        break;
      case NodeKind::filter:
      case NodeKind::map_filter:
        read_filter(node);
        break;
      case NodeKind::test:
        read_test(node);
        break;
      case NodeKind::choose:
        node.flag = byte();
        if (node.flag > 1) damaged("expected 0 or 1 of a choice");
        add(1);
        add(1, true);
        if (byte() != 0) read_test_itself(node);
        break;
      case NodeKind::call:
        add(1);
        add(count_of_items());
        for (uint64_t left = count_of_items(); left > 0; --left) node.kids.push_back(named(NodeKind::argument));
        break;
      case NodeKind::attribute:
        add(1);
        node.value = strings_[name()];
        break;
      case NodeKind::item:
      case NodeKind::both:
      case NodeKind::either:
        add(2);
        break;
      case NodeKind::slice:
        add(1);
        add(3, true);
        break;
      case NodeKind::comparison:
        add(1);
        for (uint64_t left = count_of_items(); left > 0; --left) node.kids.push_back(operand());
        break;
      case NodeKind::negation:
      case NodeKind::minus:
      case NodeKind::plus:
        add(1);
        break;
      case NodeKind::arithmetic:
        node.flag = byte();
        if (node.flag > static_cast<uint8_t>(Operator::modulo))
          damaged("expected an operator, found " + std::to_string(node.flag));
        add(2);
        break;
      case NodeKind::captured:
        if (captures_ == 0) damaged("expected captured text inside a block's filters only");
        break;
      default:
        unknown("an expression", kind);
    }
    return end(std::move(node));
  }

  Node operand() {
    Node node = begin(NodeKind::operand);
    node.flag = byte();
    if (node.flag > static_cast<uint8_t>(Comparison::not_in))
      damaged("expected a comparison, found " + std::to_string(node.flag));
    node.kids.push_back(expression());
    return end(std::move(node));
  }

  void read_filter(Node& node) {
    const std::string& called = strings_[name()].str();
    node.filter = find_filter(called);
    if (!node.filter) damaged("expected a filter that is known here, found " + called.substr(0, 60));
    node.kids.push_back(expression());
    for (size_t i = 0; i < node.filter->places; ++i) node.kids.push_back(expression_or_absent());
  }

  void read_test(Node& node) {
    node.kids.push_back(expression());
    read_test_itself(node);
  }
  void read_test_itself(Node& node) {
    const std::string& called = strings_[name()].str();
    node.test = find_test(called);
    if (!node.test) damaged("expected a test that is known here, found " + called.substr(0, 60));
    for (size_t i = 0; i < node.test->places; ++i) node.kids.push_back(expression());
  }

  [[noreturn]] void unknown(const char* expected, NodeKind found) {
    damaged(std::string("expected ") + expected + ", found a node of kind " + std::to_string(static_cast<int>(found)));
  }

  std::vector<Value>& strings_;
  uint32_t count_ = 0, depth_ = 0, loops_ = 0, captures_ = 0;
};

}  // namespace

Tree::Tree(std::span<const uint8_t> bytes, std::string_view source) {
  if (bytes.size() > kMostTreeBytes) damaged("expected at most " + std::to_string(kMostTreeBytes) + " bytes");
  Reader reader(bytes, strings_);
  const uint64_t version = reader.number();
  if (version != kTreeVersion)
    throw Error(Status::unsupported_model, "the chat template's tree: expected version " + std::to_string(kTreeVersion) +
                                               ", found " + std::to_string(version));
  if (reader.fixed() != crc32(source.data(), source.size(), 0)) damaged("it is another template's than the file's");
  reader.read_strings();
  own_names_ = reader.names();
  root_ = reader.block();
  reader.require_end();
}

}  // namespace q3e::chat
