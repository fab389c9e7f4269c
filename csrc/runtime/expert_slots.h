// Experts that do not fit the budget: as many as do are held in slots, the others are read when they are chosen.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "io/direct_reader.h"
#include "io/read_buffer.h"
#include "models/expert_source.h"

namespace q3e {

// A slot holds any expert of any layer, as it lies in the file: pages of its gate and up, then pages of its down.
struct ExpertSlotLayout {
  size_t gate_up_bytes = 0, down_bytes = 0;  // room for the pages, wherever an expert begins

  explicit ExpertSlotLayout(const ModelFile& file, const ModelConfig& config, const Weights& weights);
  ExpertSlotLayout() = default;
  size_t bytes() const { return gate_up_bytes + down_bytes; }
  // The fewest that a model runs with: what a token chooses in a layer, and what is read for the next ones meanwhile.
  static uint32_t least(const ModelConfig& config) { return 2 * config.experts_per_token; }
};

struct ExpertMetrics {
  uint64_t hits = 0, misses = 0;  // experts asked for, by whether they were there
  uint64_t bytes_read = 0;
  double wait_seconds = 0;                  // that the threads stood still for reads, and while one of them began these
  uint64_t guesses = 0, right_guesses = 0;  // experts that were read before anyone asked, and how many were then asked for
};

// Which expert leaves: the one that was not used for the longest time, of all layers. A prompt goes through all experts of a
// layer and would push everything out, so what it reads is the first to leave again.
class ExpertSlots : public ExpertSource {
 public:
  // Throws Error: io_error, out_of_memory.
  ExpertSlots(std::shared_ptr<const ModelFile> file, const ModelConfig& config, const Weights& weights, uint32_t slots,
              ReadMethod method);
  ExpertSlots(const ExpertSlots&) = delete;
  ExpertSlots& operator=(const ExpertSlots&) = delete;

  uint32_t begin(uint32_t layer, std::span<uint32_t> experts) noexcept override;
  ExpertWeights get(uint32_t index) noexcept override;
  void end() noexcept override;
  bool foresees() const noexcept override { return true; }
  void foresee(uint32_t layer, std::span<const uint32_t> likely) noexcept override;

  // In a forked child, before its first chunk: memory and reads of its own, and all slots empty. Throws as the constructor does.
  void renew();

  // After a chunk: throws Error (truncated_file, io_error) if a read failed in it, once.
  void require_read();
  ExpertMetrics metrics();

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kMostGroup = 16, kMostGuesses = 32, kMostLikely = 1;
  struct Slot {
    uint32_t key = kNone;  // layer * experts + expert
    uint32_t newer = kNone, older = kNone;
    bool held = false;   // between `begin` and `end`
    bool ahead = false;  // read before `begin` returned it
    bool fresh = true;   // never filled: its pages do not exist yet
    bool ready = true;   // nothing is on its way
    FileRead reads[2];
  };
  uint8_t* memory(uint32_t slot) const { return memory_->data() + size_t{slot} * layout_.bytes(); }
  MatrixView expert(uint32_t key, bool down) const;
  void unlink(uint32_t slot);
  void link_newest(uint32_t slot);
  void link_oldest(uint32_t slot);
  uint32_t free_slot();
  uint32_t ask(uint32_t layer, std::span<uint32_t> experts);
  uint32_t hold_ready(uint32_t layer, std::span<uint32_t> experts);
  bool is_there(uint32_t slot);
  bool fetch(uint32_t key, bool scanning);
  void guess(uint32_t layer);
  void read_likely();
  void forget_guesses(uint32_t layer, std::span<const uint32_t> experts);
  void finish(uint32_t slot);
  void forget_asked();

  std::shared_ptr<const ModelFile> file_;
  const ModelConfig& config_;
  const Weights& weights_;
  ExpertSlotLayout layout_;
  DirectFile direct_;
  ReadMethod method_;
  OwnedAtHome<ReadBuffer> memory_;  // [slots][layout.bytes()]
  std::vector<Slot> slots_;
  // Half of the experts that are on their way at once; and those of the next layer that are read while a prompt's attention is
  // computed. Of few slots few, as what is read at once pushes out what the next chunk would find.
  uint32_t group_, guesses_;
  std::vector<uint32_t> slot_of_;  // [layers * experts]
  std::vector<uint32_t> empty_;    // never filled yet; all others are in a list by their last use
  uint32_t newest_ = kNone, oldest_ = kNone;

  uint32_t layer_ = 0, wanted_ = 0, left_ = 0;  // experts that the layer was begun with, and that `begin` did not get to
  std::vector<uint32_t> asked_;                 // slots of the experts that `get` may be asked for
  std::vector<uint32_t> guessed_;               // slots that were filled before anyone knew whether they are needed
  std::vector<uint32_t> likely_;                // keys that a token's next layer is likely to ask for
  std::vector<uint32_t> order_;                 // [experts]
  int failure_ = 0;
  ExpertMetrics metrics_;
  OwnedAtHome<DirectReader> reader_;  // last: it ends before what it fills
};

}  // namespace q3e
