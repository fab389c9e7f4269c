#include "runtime/weight_store.h"

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "ukernels/unpack_row.h"

namespace q3e {
namespace {

constexpr uint64_t kHeadPartBytes = uint64_t{8} << 20;  // of a streamed head, when no layer's buffer is larger

ByteRange range_of(const TensorView& t) { return {t.offset, t.offset + t.nbytes}; }

// The pages that hold a range, as they are read.
StreamPlan::Unit unit_of(const ByteRange& range, uint32_t layer, uint32_t first_panel, uint32_t panels) {
  const uint64_t offset = page_floor(range.begin);
  return {offset, page_ceil(range.end) - offset, range.end - offset, layer, first_panel, panels};
}

// Whether a tensor is read through the map by every token.
bool stays(const Tensor& t, uint32_t layers, const Residence& residence) {
  switch (t.spec->place) {
    case Place::layer:
      return !residence.streams(static_cast<uint32_t>(t.layer), layers);
    case Place::experts:
      return residence.expert_slots == 0;
    case Place::head:
      return !residence.streams_head;
    case Place::rows:
      return false;
    case Place::always:
      break;
  }
  return true;
}

// Tensors of a kind that lie one after the other are one part of the file.
void advise(const ModelFile& file, const ModelTensors& tensors, const Residence& residence) {
  std::vector<std::pair<ByteRange, bool>> parts;
  for (size_t i = 0; i < tensors.all.size(); ++i)
    parts.emplace_back(range_of(*tensors.in_file[i]), stays(tensors.all[i], tensors.layers, residence));
  std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.first.begin < b.first.begin; });
  for (size_t i = 0; i < parts.size();) {
    auto [run, kept] = parts[i];
    for (; i < parts.size() && parts[i].second == kept; ++i) run.end = parts[i].first.end;
    kept ? file.keep(run.begin, run.end) : file.keep_out(run.begin, run.end);
  }
}

}  // namespace

WeightRanges::WeightRanges(const ModelTensors& tensors) : layers(tensors.layers) {
  for (size_t i = 0; i < tensors.all.size(); ++i) {
    const ByteRange r = range_of(*tensors.in_file[i]);
    switch (tensors.all[i].spec->place) {
      case Place::layer: {
        ByteRange& layer = layers[static_cast<size_t>(tensors.all[i].layer)];
        layer = layer.end == 0 ? r : ByteRange{std::min(layer.begin, r.begin), std::max(layer.end, r.end)};
        break;
      }
      case Place::experts:
        experts += r.size();
        break;
      case Place::head:
        head = r;
        break;
      case Place::rows:
        embedding = r;
        break;
      case Place::always:
        others += page_ceil(r.size());
        break;
    }
  }
  if (embedding.end == 0) embedding = head;
}

StreamPlan::StreamPlan(const WeightRanges& ranges, const MatrixView& head, const Residence& residence) {
  const auto layers = static_cast<uint32_t>(ranges.layers.size());
  for (uint32_t l = 0; l < layers; ++l)
    if (residence.streams(l, layers)) units.push_back(unit_of(ranges.layers[l], l, 0, 0));
  for (const Unit& u : units) buffer_bytes = std::max(buffer_bytes, u.bytes);
  if (residence.streams_head) {
    const size_t panel = head.layout.bytes;
    const uint64_t room = std::max<uint64_t>(buffer_bytes, kHeadPartBytes) - 2 * DirectFile::kAlignment;
    const auto step = static_cast<uint32_t>(std::max<uint64_t>(1, room / panel));
    for (uint32_t first = 0; first < head.panels(); first += step) {
      const uint32_t panels = std::min(step, head.panels() - first);
      const uint64_t begin = ranges.head.begin + uint64_t{first} * panel;
      units.push_back(unit_of({begin, begin + uint64_t{panels} * panel}, layers, first, panels));
      buffer_bytes = std::max(buffer_bytes, units.back().bytes);
    }
  }
  for (const Unit& u : units) streamed += u.needed;
}

WeightStore::WeightStore(const ModelFile& file, const ModelTensors& tensors, const Residence& residence, ReadMethod method)
    : file_(file),
      mapped_(tensors),
      residence_(residence),
      layers_(tensors.layers),
      tensors_(tensors.all),
      plan_(WeightRanges(tensors), tensors.head->matrix, residence),
      embeds_by_row_(residence.streams_head || tensors.embedding != tensors.head),
      head_parts_(1),
      streamed_layers_(residence.streamed_layers),
      method_(method) {
  for (uint32_t i = 0; i < tensors_.size(); ++i)
    while (tensors_[i].layer >= static_cast<int32_t>(layer_tensors_.size())) layer_tensors_.push_back(i);
  layer_tensors_.push_back(static_cast<uint32_t>(tensors_.size()));
  advise(file, tensors, residence);
  if (residence.streams_head) head_parts_ = static_cast<uint32_t>(plan_.units.size()) - streamed_layers_;
  if (!embeds_by_row_ && plan_.units.empty()) return;
  direct_ = std::make_unique<DirectFile>(file_.path(), file_.identity());
  if (embeds_by_row_) panel_.resize(mapped_.embedding->matrix.layout.bytes);
  renew();
}

void WeightStore::renew() {
  if (plan_.units.empty()) return;
  begun_count_ = 0;
  released_ = 0;
  next_ = kNone;
  failure_ = 0;
  reader_.reset();  // before what it fills
  buffers_ = make_at_home<MemoryRegion>(plan_.memory(), "buffers for streamed layers", Pages::large, Children::none);
  reader_ = make_at_home<DirectReader>(*direct_, method_);
}

void WeightStore::embed(uint32_t token, float* out) {
  MatrixView rows = mapped_.embedding->matrix;
  if (!embeds_by_row_) return unpack_row(rows, token, out);
  const uint64_t at = static_cast<uint64_t>(rows.data - file_.bytes()) + uint64_t{token / kPanelRows} * rows.layout.bytes;
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
  const auto moved = [&](const void* mapped) {
    return read.to + (static_cast<const uint8_t*>(mapped) - file_.bytes() - read.offset);
  };
  for (uint32_t i = layer_tensors_[layer]; i < layer_tensors_[layer + 1]; ++i) {
    if (mapped_.all[i].spec->place != Place::layer) continue;
    if (const Tensor& from = mapped_.all[i]; from.vector)
      tensors_[i].vector = reinterpret_cast<const float*>(moved(from.vector));
    else
      tensors_[i].matrix.data = moved(from.matrix.data);
  }
  return true;
}

bool WeightStore::acquire_head(uint32_t part, HeadPart& out) noexcept {
  out = {mapped_.head->matrix, 0};
  if (!residence_.streams_head) return true;
  const uint32_t unit = streamed_layers_ + part;
  if (!acquire(unit)) return false;
  const StreamPlan::Unit& u = plan_.units[unit];
  const FileRead& read = reads_[released_ % StreamPlan::kBuffers];
  const uint8_t* mapped = mapped_.head->matrix.data + size_t{u.first_panel} * mapped_.head->matrix.layout.bytes;
  out.rows.data = read.to + (mapped - file_.bytes() - read.offset);
  out.rows.rows = std::min(u.panels * kPanelRows, mapped_.head->matrix.rows - u.first_panel * kPanelRows);
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
