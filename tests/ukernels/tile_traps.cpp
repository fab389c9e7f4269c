// The amx tier's own object code on a machine without AMX: each tile instruction traps, and a SIGILL handler decodes it and does
// what Intel's manual says (SDM volume 2, LDTILECFG to TILEZERO), with its faults. So encodings, operand order, addresses and
// what lies in memory at that moment are the compiler's, not the emulation's of tiles.h. With AMX nothing traps and the hardware
// runs.
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "ukernels/kernel_tiers.h"

using namespace q3e;

namespace {

[[noreturn]] void fault(const char* what) {
  [[maybe_unused]] const ssize_t written = write(2, what, std::strlen(what));
  _exit(3);
}

// ---- the tile unit of a thread ----

struct TileUnit {
  bool configured;
  uint16_t row_bytes[8];
  uint8_t rows[8];
  uint8_t data[8][16][64];
  unsigned long traps;
};
thread_local TileUnit unit;

void configure(const uint8_t* c) {
  if (c[0] != 1) fault("ldtilecfg: palette\n");
  for (int i = 1; i < 16; ++i)
    if (c[i] != 0) fault("ldtilecfg: start row or reserved bytes\n");
  for (int i = 32; i < 48; ++i)
    if (c[i] != 0) fault("ldtilecfg: row bytes of tiles beyond the eighth\n");
  for (int i = 56; i < 64; ++i)
    if (c[i] != 0) fault("ldtilecfg: rows of tiles beyond the eighth\n");
  std::memset(unit.data, 0, sizeof unit.data);
  for (int tile = 0; tile < 8; ++tile) {
    std::memcpy(&unit.row_bytes[tile], c + 16 + 2 * tile, 2);
    unit.rows[tile] = c[48 + tile];
    if (unit.row_bytes[tile] > 64 || unit.rows[tile] > 16 || (unit.rows[tile] == 0) != (unit.row_bytes[tile] == 0))
      fault("ldtilecfg: shape\n");
  }
  unit.configured = true;
}

void require_tile(int tile) {
  if (!unit.configured || unit.rows[tile] == 0) fault("a tile that is not configured\n");
}

void load(int tile, const uint8_t* at, int64_t stride) {
  require_tile(tile);
  std::memset(unit.data[tile], 0, sizeof unit.data[tile]);
  for (int r = 0; r < unit.rows[tile]; ++r) std::memcpy(unit.data[tile][r], at + r * stride, unit.row_bytes[tile]);
}

void store(int tile, uint8_t* at, int64_t stride) {
  require_tile(tile);
  for (int r = 0; r < unit.rows[tile]; ++r) std::memcpy(at + r * stride, unit.data[tile][r], unit.row_bytes[tile]);
}

void dot(int c, int a, int b) {
  for (int tile : {a, b, c}) require_tile(tile);
  if (a == b || a == c || b == c) fault("tdpbssd: a tile twice\n");
  if (unit.row_bytes[a] % 4 != 0 || unit.row_bytes[b] % 4 != 0 || unit.rows[c] != unit.rows[a] ||
      unit.row_bytes[c] != unit.row_bytes[b] || unit.row_bytes[a] / 4 != unit.rows[b])
    fault("tdpbssd: shapes\n");
  uint8_t result[16][64] = {};
  for (int m = 0; m < unit.rows[c]; ++m)
    for (int n = 0; n < unit.row_bytes[c] / 4; ++n) {
      int32_t sum;
      std::memcpy(&sum, &unit.data[c][m][4 * n], 4);
      for (int k = 0; k < unit.row_bytes[a]; ++k)
        sum += static_cast<int8_t>(unit.data[a][m][k]) * static_cast<int8_t>(unit.data[b][k / 4][4 * n + k % 4]);
      std::memcpy(&result[m][4 * n], &sum, 4);
    }
  std::memcpy(unit.data[c], result, sizeof result);
}

// ---- decoding ----

greg_t& reg(ucontext_t* u, int number) {
  static constexpr int kNames[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return u->uc_mcontext.gregs[kNames[number]];
}

struct Operand {
  uint8_t* address;
  int64_t stride;
  const uint8_t* end;  // of the instruction
};

// ModRM at p with mod other than 3. x and b: the upper bits of index and base.
Operand memory(ucontext_t* u, const uint8_t* p, int x, int b) {
  const int mod = *p >> 6, rm = *p & 7;
  ++p;
  int64_t base = 0, stride = 0, displacement = 0;
  bool wide = mod == 2;
  if (rm == 4) {
    const int scale = *p >> 6, index = (*p >> 3 & 7) | x << 3, number = *p & 7;
    ++p;
    if (index != 4) stride = reg(u, index) << scale;
    if (number == 5 && mod == 0)
      wide = true;
    else
      base = reg(u, number | b << 3);
  } else if (rm == 5 && mod == 0) {
    int32_t relative;
    std::memcpy(&relative, p, 4);
    p += 4;
    return {const_cast<uint8_t*>(p) + relative, 0, p};
  } else {
    base = reg(u, rm | b << 3);
  }
  if (wide) {
    int32_t d;
    std::memcpy(&d, p, 4);
    p += 4;
    displacement = d;
  } else if (mod == 1) {
    displacement = static_cast<int8_t>(*p++);
  }
  return {reinterpret_cast<uint8_t*>(base + displacement), stride, p};
}

void on_illegal(int, siginfo_t*, void* context) {
  auto* u = static_cast<ucontext_t*>(context);
  const auto* p = reinterpret_cast<const uint8_t*>(u->uc_mcontext.gregs[REG_RIP]);
  // VEX of three bytes, map 0F38, W0, 128 bits
  if (p[0] != 0xc4 || (p[1] & 31) != 2 || (p[2] & 0x84) != 0) fault("SIGILL: no tile instruction\n");
  const int x = !(p[1] & 0x40), b = !(p[1] & 0x20), vvvv = ~p[2] >> 3 & 15, prefix = p[2] & 3;  // 1: 66, 2: F3, 3: F2
  const int opcode = p[3], modrm = p[4], field = modrm >> 3 & 7, rm = modrm & 7;
  const bool registers = modrm >> 6 == 3;
  if (!(p[1] & 0x80) || (opcode != 0x5e && vvvv != 0)) fault("SIGILL: VEX\n");
  const uint8_t* end = p + 5;
  if (opcode == 0x49 && prefix == 0 && registers && modrm == 0xc0) {
    unit.configured = false;
  } else if (opcode == 0x49 && prefix == 0 && !registers && field == 0) {
    const Operand o = memory(u, p + 4, x, b);
    configure(o.address);
    end = o.end;
  } else if (opcode == 0x49 && prefix == 3 && registers && rm == 0) {
    require_tile(field);
    std::memset(unit.data[field], 0, sizeof unit.data[field]);
  } else if (opcode == 0x4b && (prefix == 3 || prefix == 2) && !registers && rm == 4) {
    const Operand o = memory(u, p + 4, x, b);
    prefix == 3 ? load(field, o.address, o.stride) : store(field, o.address, o.stride);
    end = o.end;
  } else if (opcode == 0x5e && prefix == 3 && registers && vvvv < 8) {
    dot(field, rm, vvvv);
  } else {
    fault("SIGILL: unknown tile instruction\n");
  }
  ++unit.traps;
  u->uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(end);
}

// ---- the kernels ----

struct AlignedFree {
  void operator()(void* p) const { std::free(p); }
};
template <class T>
std::unique_ptr<T[], AlignedFree> aligned(size_t count) {
  const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
  return std::unique_ptr<T[], AlignedFree>(static_cast<T*>(std::aligned_alloc(64, bytes)));
}

// Random weights, of which only the float16 scales must be numbers.
long wrong_matmuls(std::mt19937& random, const char* name, uint32_t columns, uint32_t tokens) {
  const BlockFormat& format = *find_block_format(name);
  const uint32_t panels = 1 + random() % kGemmPanels, stride = activation_stride(columns);
  MatrixView w{nullptr, &format, panels * kPanelRows, columns, panel_layout(format, columns)};
  auto data = aligned<uint8_t>(panels * w.layout.bytes);
  for (size_t i = 0; i < panels * w.layout.bytes; ++i) data[i] = static_cast<uint8_t>(random());
  for (uint32_t p = 0; p < panels; ++p)
    for (uint32_t i = 0; i < w.layout.blocks * kPanelRows; ++i) {
      const auto half = static_cast<uint16_t>(0x1400 + random() % 0x800);
      std::memcpy(data.get() + p * w.layout.bytes + w.layout.scale + 2 * i, &half, 2);
    }
  w.data = data.get();
  std::vector<int8_t> quants(size_t{tokens} * stride);
  for (int8_t& q : quants) q = static_cast<int8_t>(random() % 255 - 127);
  std::vector<float> scales(tokens * w.layout.blocks, 0.01f);
  std::vector<int32_t> sums(scales.size());
  for (uint32_t t = 0; t < tokens; ++t)
    for (uint32_t k = 0; k < columns; ++k) sums[t * w.layout.blocks + k / format.block] += quants[size_t{t} * stride + k];
  const Activations a{tokens, columns, stride, format.block, nullptr, quants.data(), scales.data(), sums.data()};
  auto scratch = aligned<uint8_t>(kMatmulScratchBytes);
  std::vector<float> expected(size_t{tokens} * w.rows, 1.0f), found(expected.size(), 2.0f);
  matmul_scalar(w, 0, panels, a, expected.data(), w.rows, scratch.get());
  matmul_amx(w, 0, panels, a, found.data(), w.rows, scratch.get());
  long wrong = 0;
  for (size_t i = 0; i < found.size(); ++i) wrong += !(found[i] == expected[i]);
  if (wrong) std::printf("matmul %s, %u columns, %u tokens, %u panels: %ld differ\n", name, columns, tokens, panels, wrong);
  return wrong;
}

// A random cache, whose scales are no numbers behind the last position.
long wrong_attentions(std::mt19937& random, uint32_t d, uint32_t group, uint32_t tokens, uint32_t position) {
  const uint32_t kv_heads = tokens * group <= 32 ? 2 : 1, pages = (position + tokens + kKvBlock - 1) / kKvBlock;
  const KvBlockLayout layout = kv_block_layout(KvType::int8, d);
  auto cache = aligned<uint8_t>(pages * kv_heads * layout.bytes);
  for (size_t i = 0; i < pages * kv_heads * layout.bytes; ++i) cache[i] = static_cast<uint8_t>(random());
  std::vector<const uint8_t*> table;
  for (uint32_t p = 0; p < pages; ++p) {
    uint8_t* page = cache.get() + p * kv_heads * layout.bytes;
    table.push_back(page);
    for (uint32_t h = 0; h < kv_heads; ++h)
      for (uint32_t i = 0; i < kKvBlock; ++i)
        for (size_t plane : {layout.key_scales, layout.value_scales}) {
          const bool there = p * kKvBlock + i < position + tokens;
          const float scale = there ? 0.001f * static_cast<float>(1 + random() % 20) : __builtin_nanf("");
          std::memcpy(page + h * layout.bytes + plane + 4 * i, &scale, 4);
        }
  }
  const size_t rows = size_t{tokens} * kv_heads * group;
  std::vector<int8_t> q(rows * d);
  for (int8_t& v : q) v = static_cast<int8_t>(random() % 255 - 127);
  std::vector<float> q_scales(rows, 0.003f), expected(rows * d, 1.0f), found(rows * d, 2.0f);
  auto scratch = aligned<uint8_t>(kAttentionScratchBytes);
  AttentionTask task{q.data(), q_scales.data(), kv_heads * group, kv_heads,     tokens, group,
                     d,        position,        KvType::int8,     table.data(), 0,      nullptr,
                     nullptr,  expected.data(), scratch.get()};
  attention_scalar(task);
  task.out = found.data();
  attention_amx(task);
  long wrong = 0;
  for (size_t i = 0; i < found.size(); ++i) wrong += !(found[i] == expected[i]);
  if (wrong) std::printf("attention %u, group %u, %u tokens at %u: %ld differ\n", d, group, tokens, position, wrong);
  return wrong;
}

struct Share {
  long wrong = 0, values = 0;
  unsigned long traps = 0;
};

void work(uint32_t seed, Share& share) {
  std::mt19937 random(seed);
  for (const char* name : {"q8", "q4z32", "q4z64", "q6z32"})
    for (uint32_t tokens : {9u, 16u, 17u, 32u, 45u, 128u}) {
      share.wrong += wrong_matmuls(random, name, 64 * (1 + random() % 9), tokens);
      ++share.values;
    }
  for (uint32_t d : {32u, 64u, 96u, 128u, 256u})
    for (uint32_t group : {1u, 2u, 4u, 8u}) {
      share.wrong += wrong_attentions(random, d, group, (9 + group - 1) / group + random() % (39 / group), random() % 150);
      ++share.values;
    }
  share.traps = unit.traps;
}

}  // namespace

// Arguments: a seed. Prints cases, differing values and trapped instructions; two threads, each with tiles of its own.
int main(int argc, char** argv) {
  const auto seed = static_cast<uint32_t>(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1);
  if (!isa_supported(Isa::avx512)) {
    std::puts("no AVX-512");
    return 77;
  }
  if (!isa_supported(Isa::amx)) {
    struct sigaction action = {};
    action.sa_sigaction = on_illegal;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, nullptr);
  }
  Share shares[2];
  std::thread other([&] { work(seed + 1, shares[1]); });
  work(seed, shares[0]);
  other.join();
  std::printf("%ld cases, %ld values differ, %lu instructions trapped\n", shares[0].values + shares[1].values,
              shares[0].wrong + shares[1].wrong, shares[0].traps + shares[1].traps);
  return shares[0].wrong + shares[1].wrong ? 1 : 0;
}
