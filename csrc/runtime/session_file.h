// A conversation in a file: its tokens, a text of its owner's, and the pages of the KV cache that are kept of it.
// docs/format.md describes the file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/engine.h"

namespace q3e {

struct SavedSession {
  std::vector<int32_t> tokens;
  std::string note;
};

// Writes a new file and puts it in the place of `path` at once, readable for its owner alone. Steps of other threads run between
// its pages. Throws Error: io_error, OpenError; bad_argument for what is too long. Nothing is left of a file that is not whole.
void save_session(Engine& engine, std::span<const int32_t> tokens, std::string_view note, const std::string& path);

// Puts the pages into the prefix cache, as many as there is memory for. Throws Error: OpenError, io_error, truncated_file,
// foreign_file (of another kind, model, KV type or numerics version), corrupt_file; the pages before a damaged one stay.
SavedSession load_session(Engine& engine, const std::string& path);

}  // namespace q3e
