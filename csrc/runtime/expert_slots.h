// Experts that do not fit the budget: as many as do are held in slots, the others are read when they are chosen.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/memory_region.h"
#include "exec/expert_source.h"
#include "io/direct_reader.h"
#include "io/model_file.h"

namespace q3e {

// A slot holds any expert of any pool, as it lies in the file: pages of its gate and up, then pages of its down.
struct ExpertSlotLayout {
  size_t gate_up_bytes = 0, down_bytes = 0;  // room for the pages, wherever an expert begins

  ExpertSlotLayout(const ModelFile& file, std::span<const ExpertPool> pools);
  size_t bytes() const { return gate_up_bytes + down_bytes; }
  // The fewest that a model runs with: what a token chooses of a pool, and as many that are read for the next one meanwhile. 0
  // without pools.
  static uint32_t least(std::span<const ExpertPool> pools);
};

struct ExpertMetrics {
  uint64_t hits = 0, misses = 0;  // experts asked for, by whether they were there
  uint64_t bytes_read = 0;
  double wait_seconds = 0;                  // that the threads stood still for reads, and while one of them began these
  uint64_t guesses = 0, right_guesses = 0;  // experts that were read before anyone asked, and how many were then asked for
};

// Which expert leaves: the one that was not used for the longest time, of all pools. A prompt goes through all experts of a
// pool and would push everything out, so what it reads is the first to leave again.
class ExpertSlots : public ExpertSource {
 public:
  // Throws Error: io_error, out_of_memory.
  // The file outlives it. The pools have experts of the same number.
  ExpertSlots(const ModelFile& file, std::span<const ExpertPool> pools, uint32_t slots, ReadMethod method);
  ExpertSlots(const ExpertSlots&) = delete;
  ExpertSlots& operator=(const ExpertSlots&) = delete;

  uint32_t begin(uint32_t pool, std::span<uint32_t> experts) noexcept override;
  ExpertWeights get(uint32_t index) noexcept override;
  void end() noexcept override;
  bool foresees() const noexcept override { return true; }
  void foresee(uint32_t pool, std::span<const uint32_t> likely) noexcept override;

  // In a forked child, before its first chunk: memory and reads of its own, and all slots empty. Throws as the constructor does.
  void renew();

  // After a chunk: throws Error (truncated_file, io_error) if a read failed in it, once.
  void require_read();
  ExpertMetrics metrics();

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kMostGroup = 16, kMostGuesses = 32, kMostLikely = 1;
  struct Slot {
    uint32_t key = kNone;  // pool * experts + expert
    uint32_t newer = kNone, older = kNone;
    bool held = false;   // between `begin` and `end`
    bool ahead = false;  // read before `begin` returned it
    bool fresh = true;   // never filled: its pages do not exist yet
    bool ready = true;   // nothing is on its way
    FileRead reads[2];
  };
  uint8_t* memory(uint32_t slot) const { return memory_->data() + size_t{slot} * layout_.bytes(); }
  ExpertWeights expert(uint32_t key) const { return pools_[key / experts_].expert(key % experts_); }
  void unlink(uint32_t slot);
  void link(uint32_t slot, bool oldest);
  uint32_t free_slot();
  uint32_t ask(uint32_t pool, std::span<uint32_t> experts);
  uint32_t hold_ready(uint32_t pool, std::span<uint32_t> experts);
  bool is_there(uint32_t slot);
  bool fetch(uint32_t key, bool scanning);
  bool fetch_guess(uint32_t key);
  void guess(uint32_t pool);
  void read_likely();
  void forget_guesses(uint32_t pool, std::span<const uint32_t> experts);
  void finish(uint32_t slot);
  void forget_asked();

  const ModelFile& file_;
  const std::vector<ExpertPool> pools_;
  const uint32_t experts_;  // of a pool
  ExpertSlotLayout layout_;
  DirectFile direct_;
  ReadMethod method_;
  OwnedAtHome<MemoryRegion> memory_;  // [slots][layout.bytes()]
  std::vector<Slot> slots_;
  // Half of the experts that are on their way at once; and those of the next layer that are read while a prompt's attention is
  // computed. Of few slots few, as what is read at once pushes out what the next chunk would find.
  uint32_t group_, guesses_;
  std::vector<uint32_t> slot_of_;  // [pools * experts]
  std::vector<uint32_t> empty_;    // never filled yet; all others are in a list by their last use
  uint32_t newest_ = kNone, oldest_ = kNone;

  uint32_t pool_ = 0, wanted_ = 0, left_ = 0;  // experts that the pool was begun with, and that `begin` did not get to
  std::vector<uint32_t> asked_;                // slots of the experts that `get` may be asked for
  std::vector<uint32_t> guessed_;              // slots that were filled before anyone knew whether they are needed
  std::vector<uint32_t> likely_;               // keys that a token's next layer is likely to ask for
  std::vector<uint32_t> order_;                // [experts]
  int failure_ = 0;
  ExpertMetrics metrics_;
  OwnedAtHome<DirectReader> reader_;  // last: it ends before what it fills
};

}  // namespace q3e
