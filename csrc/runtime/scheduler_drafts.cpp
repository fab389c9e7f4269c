// The draft tokens of a step: which are checked, what came of them, and what they cost.
#include <algorithm>

#include "exec/prefix_cache.h"
#include "runtime/scheduler.h"

namespace q3e {
namespace {

constexpr double kDraftCost = 0.15;  // relative to a step without drafts, as long as none was measured

}  // namespace

// Adds guesses to rows that decode. None goes beyond its row's page: an engine may pack a page that is full, and a wrong guess
// must be no part of it.
void Scheduler::draft(std::vector<Row>& rows) {
  const auto count = static_cast<uint32_t>(rows.size());
  uint32_t left = std::min(limits_.draft_tokens, limits_.chunk - std::min(limits_.chunk, count));
  Drafts::Step step{static_cast<double>(count), 1.0, draft_cost_ > 0 ? draft_cost_ : kDraftCost};
  for (Row& row : rows) {
    Generation& g = *row.generation;
    if (!g.drafts_) continue;
    const uint64_t answer = g.request_.max_tokens ? g.request_.max_tokens : limits_.context;
    const auto end = static_cast<uint32_t>(std::min<uint64_t>(g.prompt_size() + answer, limits_.context));
    const uint32_t in_page = limits_.page_tokens - 1 - g.computed_ % limits_.page_tokens;
    const uint32_t most = g.scores() ? 0 : std::min({left, in_page, end - g.size() - 1});
    row.drafted = static_cast<uint32_t>(g.drafts_->propose(g.tokens_, most, step).size());
    left -= row.drafted;
  }
}

// The right ones are computed tokens of the answer now; what lies behind them in the cache is cut off.
void Scheduler::settle_drafts(Generation& g) {
  const std::span<const int32_t> drafts = g.drafts_->tokens();
  const auto count = static_cast<uint32_t>(drafts.size()),
             right = common_length(drafts, std::span(g.tokens_).subspan(g.computed_));
  g.drafts_->learn(right, std::min(count, right + 1));
  drafted_ += count;
  accepted_drafts_ += right;
  g.computed_ += right;
  if (right < count) g.computed_ = engine_.truncate(*g.sequence_, g.computed_);
}

void Scheduler::learn_cost_of_drafts(uint32_t count, double seconds) {
  if (decode_seconds_ <= 0) return;
  const double cost = std::clamp((seconds / decode_seconds_ - 1) / count, kDraftCost / 8, 4 * kDraftCost);
  draft_cost_ = draft_cost_ > 0 ? 0.9 * draft_cost_ + 0.1 * cost : cost;
}

}  // namespace q3e
