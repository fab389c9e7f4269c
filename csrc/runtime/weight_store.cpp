#include "runtime/weight_store.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "ukernels/unpack_row.h"

namespace q3e {
namespace {

constexpr size_t kPage = DirectFile::kAlignment;
constexpr uint64_t kHeadPartBytes = uint64_t{8} << 20;  // of a streamed head, when no layer's buffer is larger

uint64_t page_floor(uint64_t n) { return n / kPage * kPage; }
uint64_t page_ceil(uint64_t n) { return (n + kPage - 1) / kPage * kPage; }

ByteRange range_of(const TensorView& t) { return {t.offset, t.offset + t.nbytes}; }

// The pages that hold a range, as they are read.
StreamPlan::Unit unit_of(const ByteRange& range, uint32_t layer, uint32_t first_panel, uint32_t panels) {
  const uint64_t offset = page_floor(range.begin);
  return {offset, page_ceil(range.end) - offset, range.end - offset, layer, first_panel, panels};
}

// All that a layer reads from its range of the file.
template <class F>
void move_pointers(LayerWeights& w, F&& move) {
  for (const float** vector : {&w.attn_norm, &w.q_norm, &w.k_norm, &w.ffn_norm})
    if (*vector) *vector = reinterpret_cast<const float*>(move(reinterpret_cast<const uint8_t*>(*vector)));
  for (MatrixView* matrix : {&w.q, &w.k, &w.v, &w.attn_output, &w.gate, &w.up, &w.down, &w.router})
    if (matrix->data) matrix->data = move(matrix->data);
}

// That a tensor is a part of, if any.
std::optional<uint32_t> layer_of(const TensorView& t) {
  constexpr std::string_view kLayer = "blk.";
  if (!t.name.starts_with(kLayer)) return std::nullopt;
  const std::string_view rest = t.name.substr(kLayer.size());
  return static_cast<uint32_t>(std::stoul(std::string(rest.substr(0, rest.find('.')))));
}

// Whether a tensor is read through the map by every token.
bool stays(const TensorView& t, const ModelConfig& config, const Residence& residence) {
  if (t.name.ends_with("_exps.weight")) return residence.expert_slots == 0;
  if (const std::optional<uint32_t> layer = layer_of(t)) return !residence.streams(*layer, config.layers);
  if (t.name == "output.weight" || (t.name == "token_embd.weight" && config.tied_embeddings)) return !residence.streams_head;
  return t.name != "token_embd.weight";
}

// Tensors of a kind that lie one after the other are one part of the file.
void advise(const ModelFile& file, const ModelConfig& config, const Residence& residence) {
  ByteRange run;
  bool kept = true;
  const auto end_run = [&] { kept ? file.keep(run.begin, run.end) : file.keep_out(run.begin, run.end); };
  for (const TensorView& t : file.tensors()) {
    if (run.end == 0 || stays(t, config, residence) != kept) {
      end_run();
      kept = stays(t, config, residence);
      run.begin = t.offset;
    }
    run.end = t.offset + t.nbytes;
  }
  end_run();
}

}  // namespace

WeightRanges::WeightRanges(const ModelFile& file, const ModelConfig& config) : layers(config.layers) {
  embedding = range_of(file.tensor("token_embd.weight"));
  head = config.tied_embeddings ? embedding : range_of(file.tensor("output.weight"));
  for (const TensorView& t : file.tensors()) {
    if (const std::optional<uint32_t> index = layer_of(t)) {
      if (t.name.ends_with("_exps.weight")) {
        experts += t.nbytes;
        continue;
      }
      ByteRange& layer = layers[*index];
      const ByteRange r = range_of(t);
      layer = layer.end == 0 ? r : ByteRange{std::min(layer.begin, r.begin), std::max(layer.end, r.end)};
    } else if (t.format->kind == FormatKind::vector) {
      others += page_ceil(t.nbytes);
    }
  }
}

StreamPlan::StreamPlan(const WeightRanges& ranges, const Weights& weights, const Residence& residence) {
  const auto layers = static_cast<uint32_t>(ranges.layers.size());
  for (uint32_t l = 0; l < layers; ++l)
    if (residence.streams(l, layers)) units.push_back(unit_of(ranges.layers[l], l, 0, 0));
  for (const Unit& u : units) buffer_bytes = std::max(buffer_bytes, u.bytes);
  if (residence.streams_head) {
    const size_t panel = weights.head.layout.bytes;
    const uint64_t room = std::max<uint64_t>(buffer_bytes, kHeadPartBytes) - 2 * kPage;
    const auto step = static_cast<uint32_t>(std::max<uint64_t>(1, room / panel));
    for (uint32_t first = 0; first < weights.head.panels(); first += step) {
      const uint32_t panels = std::min(step, weights.head.panels() - first);
      const uint64_t begin = ranges.head.begin + uint64_t{first} * panel;
      units.push_back(unit_of({begin, begin + uint64_t{panels} * panel}, layers, first, panels));
      buffer_bytes = std::max(buffer_bytes, units.back().bytes);
    }
  }
  for (const Unit& u : units) streamed += u.needed;
}

WeightStore::WeightStore(std::shared_ptr<const ModelFile> file, const ModelConfig& config, const Residence& residence,
                         ReadMethod method)
    : file_(std::move(file)),
      residence_(residence),
      layers_(config.layers),
      mapped_(*file_, config),
      weights_(mapped_),
      plan_(WeightRanges(*file_, config), mapped_, residence),
      embeds_by_row_(residence.streams_head || !config.tied_embeddings),
      head_parts_(1),
      streamed_layers_(residence.streamed_layers),
      method_(method) {
  advise(*file_, config, residence);
  if (residence.streams_head) head_parts_ = static_cast<uint32_t>(plan_.units.size()) - streamed_layers_;
  if (!embeds_by_row_ && plan_.units.empty()) return;
  direct_ = std::make_unique<DirectFile>(file_->path(), file_->identity());
  if (embeds_by_row_) panel_.resize(mapped_.embedding.layout.bytes);
  renew();
}

void WeightStore::renew() {
  if (plan_.units.empty()) return;
  begun_count_ = 0;
  released_ = 0;
  next_ = kNone;
  failure_ = 0;
  reader_.reset();  // before what it fills
  buffers_ = make_at_home<ReadBuffer>(plan_.memory(), "buffers for streamed layers");
  reader_ = make_at_home<DirectReader>(*direct_, method_);
}

void WeightStore::embed(uint32_t token, float* out) {
  MatrixView rows = mapped_.embedding;
  if (!embeds_by_row_) return unpack_row(rows, token, out);
  const uint64_t at = static_cast<uint64_t>(rows.data - file_->bytes()) + uint64_t{token / kPanelRows} * rows.layout.bytes;
  if (const int code = direct_->read_cached(at, panel_.size(), panel_.data()); code != 0) throw direct_->failure(code);
  rows.data = panel_.data();
  rows.rows = kPanelRows;
  unpack_row(rows, token % kPanelRows, out);
}

void WeightStore::begin_pass(bool head) noexcept {
  if (plan_.units.empty()) return;
  const bool first = begun_count_ == 0 || (streamed_layers_ > 0 && begun_[0] == 0);
  if (failure_ != 0 || !first) {  // what was under way belongs to a pass that ended early
    for (; begun_count_ > 0; --begun_count_) reader_->finish(reads_[released_++ % StreamPlan::kBuffers]);
    next_ = kNone;
    failure_ = 0;
  }
  ahead_ = false;
  last_ = head ? static_cast<uint32_t>(plan_.units.size()) : streamed_layers_;
  if (next_ == kNone && last_ > 0) next_ = begun_count_ == 0 ? 0 : following(begun_[begun_count_ - 1]);
  read_ahead();
}

// The unit to read after this one: at the end of a pass the next one's first layers, which every pass needs.
uint32_t WeightStore::following(uint32_t unit) noexcept {
  if (ahead_) return unit + 1 < streamed_layers_ ? unit + 1 : kNone;
  if (unit + 1 < last_) return unit + 1;
  ahead_ = true;
  return streamed_layers_ > 0 ? 0 : kNone;
}

void WeightStore::read_ahead() noexcept {
  while (begun_count_ < StreamPlan::kBuffers && next_ != kNone) {
    const StreamPlan::Unit& u = plan_.units[next_];
    const uint64_t buffer = (released_ + begun_count_) % StreamPlan::kBuffers;
    FileRead& read = reads_[buffer];
    read.offset = u.offset;
    read.bytes = u.bytes;
    read.needed = u.needed;
    read.to = buffers_->data() + buffer * plan_.buffer_bytes;
    reader_->start(read);
    begun_[begun_count_++] = next_;
    next_ = following(next_);
  }
}

bool WeightStore::acquire(uint32_t unit) noexcept {
  if (failure_ != 0) return false;
  if (begun_count_ == 0 || begun_[0] != unit) {
    failure_ = EIO;  // not reached: passes go through the units in order
    return false;
  }
  failure_ = reader_->finish(reads_[released_ % StreamPlan::kBuffers]);
  return failure_ == 0;
}

bool WeightStore::acquire_layer(uint32_t layer) noexcept {
  const auto unit = static_cast<uint32_t>(uint64_t{layer} * streamed_layers_ / layers_);
  if (!acquire(unit)) return false;
  const FileRead& read = reads_[released_ % StreamPlan::kBuffers];
  const LayerWeights& from = mapped_.layers[layer];
  LayerWeights& to = weights_.layers[layer];
  const auto place = [&](const uint8_t* mapped) { return read.to + (mapped - file_->bytes() - read.offset); };
  to.attn_norm = from.attn_norm, to.q_norm = from.q_norm, to.k_norm = from.k_norm, to.ffn_norm = from.ffn_norm;
  to.q = from.q, to.k = from.k, to.v = from.v, to.attn_output = from.attn_output;
  to.gate = from.gate, to.up = from.up, to.down = from.down, to.router = from.router;
  move_pointers(to, place);
  return true;
}

bool WeightStore::acquire_head(uint32_t part, HeadPart& out) noexcept {
  out = {weights_.head, 0};
  if (!residence_.streams_head) return true;
  const uint32_t unit = streamed_layers_ + part;
  if (!acquire(unit)) return false;
  const StreamPlan::Unit& u = plan_.units[unit];
  const FileRead& read = reads_[released_ % StreamPlan::kBuffers];
  const uint8_t* mapped = mapped_.head.data + size_t{u.first_panel} * mapped_.head.layout.bytes;
  out.rows.data = read.to + (mapped - file_->bytes() - read.offset);
  out.rows.rows = std::min(u.panels * kPanelRows, mapped_.head.rows - u.first_panel * kPanelRows);
  out.first_panel = u.first_panel;
  return true;
}

void WeightStore::release() noexcept {
  if (failure_ != 0) return;
  std::move(begun_ + 1, begun_ + begun_count_, begun_);
  --begun_count_;
  ++released_;
  read_ahead();
}

void WeightStore::require_read() const {
  if (failure_ != 0) throw direct_->failure(failure_);
}

}  // namespace q3e
