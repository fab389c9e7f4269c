// The draft tokens of a step: which are checked, what came of them, and what they cost.
#include <algorithm>
#include <limits>
#include <utility>

#include "exec/prefix_cache.h"
#include "runtime/scheduler.h"

namespace q3e {
namespace {

// Relative to a step without drafts, as long as none was measured: of checking a draft token, and of a draft model's pass.
constexpr double kDraftCost = 0.15, kPassCost = 0.1;

}  // namespace

// Adds guesses to rows that decode, or asks for them. None goes beyond its row's page: an engine may pack a page that is full,
// and a wrong guess must be no part of it.
void Scheduler::draft(std::vector<Row>& rows) {
  const auto count = static_cast<uint32_t>(rows.size());
  if (draft_model_ && decode_seconds_ <= 0) return;  // which would not be known if each step had some
  uint32_t left = std::min(limits_.draft_tokens, limits_.chunk - std::min(limits_.chunk, count));
  const double pass = draft_pass_seconds_ > 0 ? draft_pass_seconds_ / decode_seconds_ : kPassCost;
  Drafts::Step step{static_cast<double>(count), 1.0, draft_cost_ > 0 ? draft_cost_ : kDraftCost,
                    draft_model_ ? pass / count : std::numeric_limits<double>::infinity()};
  for (Row& row : rows) {
    Generation& g = *row.generation;
    if (!g.drafts_) continue;
    const uint64_t answer = g.request_.max_tokens ? g.request_.max_tokens : limits_.context;
    const auto end = static_cast<uint32_t>(std::min<uint64_t>(g.prompt_size() + answer, limits_.context));
    const uint32_t in_page = limits_.page_tokens - 1 - g.computed_ % limits_.page_tokens;
    const uint32_t most = g.scores() ? 0 : std::min({left, in_page, end - g.size() - 1});
    row.asked = g.drafts_->propose(g.tokens_, most, step);
    row.drafted = static_cast<uint32_t>(g.drafts_->tokens().size());
    left -= row.asked + row.drafted;
  }
}

// Without the lock, as part of a step. The draft model reads prompts as the model does, piece by piece, and drafts for those of
// whose text it has read enough to catch up with.
void Scheduler::ask_draft_model(std::vector<Row>& rows) {
  const auto began = Clock::now();
  uint32_t prompts = 0, decoding = 0;
  for (const Row& row : rows) (row.count > 1 ? prompts : decoding) += row.count;
  uint32_t left = std::max(prompts, prompt_tokens_beside(decoding));
  std::vector<DraftModel::Ask> asks;
  std::vector<Row*> asked;
  for (Row& row : rows) {
    Generation& g = *row.generation;
    if (!g.drafts_) continue;
    // It may have kept more of a prompt than the model.
    const uint32_t read = draft_model_->length(*g.sequence_), behind = std::max(g.computed_ + row.count, read) - read;
    const bool drafts = row.asked > 0 && behind <= left;
    if (row.asked == 0 && row.count == 1) continue;
    const uint32_t count = std::min(left, behind);
    left -= count;
    asks.push_back({*g.sequence_, std::span(g.tokens_).first(read + count), drafts ? row.asked : 0, g.request_.sampler.get(),
                    g.request_.stop_tokens});
    asked.push_back(&row);
  }
  drafting_seconds_ = 0;
  if (asks.empty()) return;
  const uint32_t passes = draft_model_->propose(asks, cancel_);
  bool drafted = false;
  for (size_t i = 0; i < asks.size(); ++i) {
    if (asks[i].count == 0) continue;
    asked[i]->drafted = static_cast<uint32_t>(asks[i].drafts.size());
    asked[i]->generation->drafts_->set(std::move(asks[i].drafts));
    drafted = true;
  }
  drafting_seconds_ = std::chrono::duration<double>(Clock::now() - began).count();
  if (!drafted) return;
  const double found = drafting_seconds_ / passes;
  draft_pass_seconds_ = draft_pass_seconds_ > 0 ? 0.9 * draft_pass_seconds_ + 0.1 * found : found;
}

// The right ones are computed tokens of the answer now; what lies behind them in the cache is cut off.
// A refused one is wrong as well.
void Scheduler::settle_drafts(Generation& g, bool refused) {
  const std::span<const int32_t> drafts = g.drafts_->tokens();
  // Its last token has no logits behind it yet, and is computed with the next step.
  const auto said = std::span(g.tokens_).subspan(g.computed_, g.left() - std::min(g.left(), 1u));
  const auto count = static_cast<uint32_t>(drafts.size()), guessed = count + refused, right = common_length(drafts, said);
  g.drafts_->learn(right, std::min(guessed, right + 1));
  drafted_ += guessed;
  accepted_drafts_ += right;
  g.computed_ += right;
  g.constrained_ += std::min(right, g.ahead_);
  g.ahead_ -= std::min(right, g.ahead_);
  if (right < count) g.computed_ = engine_.truncate(*g.sequence_, g.computed_);
}

// Of a step that failed.
void Scheduler::forget_drafts(std::span<const Row> rows) {
  for (const Row& row : rows)
    if (draft_model_ && row.generation->drafts_) draft_model_->cut(*row.generation->sequence_, row.generation->size());
}

// A guess that costs a step is worth less than that step, however likely it is: a stalled step says no more than this.
void Scheduler::learn_cost_of_drafts(uint32_t count, double seconds) {
  if (decode_seconds_ <= 0) return;
  const double cost = std::clamp((seconds / decode_seconds_ - 1) / count, kDraftCost / 8, 1.0);
  draft_cost_ = draft_cost_ > 0 ? 0.9 * draft_cost_ + 0.1 * cost : cost;
}

}  // namespace q3e
