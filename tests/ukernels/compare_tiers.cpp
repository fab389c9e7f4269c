// Every kernel of every tier that this machine has against its scalar twin, by ==. For machines without Python: what a cross
// compiler builds runs under an emulator.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "ukernels/kernels.h"

using namespace q3e;

namespace {

struct AlignedFree {
  void operator()(void* p) const { std::free(p); }
};
using Bytes = std::unique_ptr<uint8_t[], AlignedFree>;

Bytes aligned(size_t bytes) {
  const size_t whole = (bytes + 127) / 64 * 64;  // and a line that may be read beyond the end
  Bytes p(static_cast<uint8_t*>(std::aligned_alloc(64, whole)));
  std::memset(p.get(), 0, whole);
  return p;
}

using Floats = std::vector<float>;

// Inputs, and how many results of the tier that is looked at were not its twin's.
class Comparison {
 public:
  Comparison(const KernelTable& tier, uint32_t seed) : tier_(tier), twin_(kernel_table(Isa::scalar)), random_(seed) {}

  void run() {
    for (const BlockFormat& format : kBlockFormats)
      if (format.kind != FormatKind::vector) matmuls(format);
    for (const uint32_t n : {32u, 96u, 896u, 1024u}) elementwise(n);
    for (const uint32_t heads : {1u, 16u, 24u}) delta_gates(heads);
    for (const uint32_t key_size : {64u, 128u}) delta_rule(key_size);
    for (const uint32_t experts : {5u, 60u, 128u}) route(experts);
    for (const KvType type : kKvTypes)
      for (const uint32_t d : {64u, 96u, 256u}) {
        rope(type, d);
        attention(type, d);
      }
    for (const uint32_t d : {64u, 128u}) pack_keys(d);
  }

  long cases = 0, wrong = 0;

 private:
  // Mostly normal, with a few large ones as activations have.
  Floats floats(size_t n, float scale = 1.0f) {
    Floats x(n + 16);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < n; ++i) x[i] = normal(random_) * scale * (random_() % 100 == 0 ? 50.0f : 1.0f);
    return x;
  }

  template <class T>
  void compare(const char* kernel, const std::string& shape, const T* expected, const T* found, size_t n) {
    ++cases;
    size_t differ = 0, first = n;
    for (size_t i = 0; i < n; ++i)
      if (!(expected[i] == found[i])) {
        if (differ++ == 0) first = i;
      }
    if (differ == 0) return;
    ++wrong;
    std::printf("%s %s %s: %zu of %zu differ, the first at %zu: expected %g, found %g\n", isa_name(tier_.isa), kernel,
                shape.c_str(), differ, n, first, static_cast<double>(expected[first]), static_cast<double>(found[first]));
  }

  // The weights are any bits that a file may have, with float scales that are numbers.
  void matmuls(const BlockFormat& format) {
    for (const uint32_t columns : {64u, 288u, 320u}) {
      if (!holds_columns(format, columns)) continue;
      const uint32_t panels = 1 + random_() % kGemmPanels;
      MatrixView w{nullptr, &format, panels * kPanelRows, columns, panel_layout(format, columns)};
      const size_t bytes = panels * w.layout.bytes;
      Bytes data = aligned(bytes);
      for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>(random_());
      for (uint32_t p = 0; p < panels; ++p) {
        uint8_t* const panel = data.get() + p * w.layout.bytes;
        const auto halves = [&](size_t plane) {
          for (uint32_t i = 0; i < w.layout.blocks * kPanelRows; ++i) {
            const uint16_t half = i % 7 == 0 ? static_cast<uint16_t>(random_() % 0x400) : f16_from_f32(floats(1, 0.01f)[0]);
            std::memcpy(panel + plane + 2 * i, &half, 2);
          }
        };
        if (format.block) halves(w.layout.scale);
        if (traits(format.kind).minimum) halves(w.layout.minimum);
        // s * q + z must stay in int8.
        for (size_t i = w.layout.sub_offset; i < w.layout.quants; ++i) panel[i] = static_cast<uint8_t>(128 + random_() % 16);
        if (format.block == 0)
          fill(format.kind == FormatKind::bf16 ? KvType::bf16 : KvType::f32, panel + w.layout.quants,
               size_t{columns} * kPanelRows);
      }
      w.data = data.get();
      for (const uint32_t tokens : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 12u}) matmul(w, panels, tokens);
    }
  }

  void matmul(const MatrixView& w, uint32_t panels, uint32_t tokens) {
    const uint32_t stride = activation_stride(w.columns), block = w.format->block;
    Floats x = floats(size_t{tokens} * w.columns);
    std::vector<int8_t> quants(size_t{tokens} * stride + 64, 1);
    Floats scales(tokens * w.layout.blocks + 1);
    std::vector<int32_t> sums(scales.size());
    for (uint32_t t = 0; block && t < tokens; ++t)
      twin_.quantize(x.data() + size_t{t} * w.columns, w.columns, block, quants.data() + size_t{t} * stride,
                     scales.data() + t * w.layout.blocks, sums.data() + t * w.layout.blocks);
    const Activations a{tokens, w.columns, stride, block, x.data(), quants.data(), scales.data(), sums.data()};
    const Bytes scratch = aligned(kMatmulScratchBytes);
    Floats expected(size_t{tokens} * w.rows, 1.0f), found(expected.size(), 2.0f);
    twin_.matmul(w, 0, panels, a, expected.data(), w.rows, scratch.get());
    tier_.matmul(w, 0, panels, a, found.data(), w.rows, scratch.get());
    compare("matmul", std::string(w.format->name) + " " + std::to_string(w.columns) + " x " + std::to_string(tokens),
            expected.data(), found.data(), found.size());
  }

  void elementwise(uint32_t n) {
    const std::string shape = std::to_string(n);
    const Floats x = floats(n), y = floats(n, 5.0f), z = floats(n);
    Floats expected(2 * n), found(2 * n);
    const auto both = [&](const char* name, auto&& call) {
      expected = found = floats(2 * n);
      found = expected;
      call(twin_, expected.data());
      call(tier_, found.data());
      compare(name, shape, expected.data(), found.data(), n);
    };
    both("rmsnorm", [&](const KernelTable& k, float* o) { k.rmsnorm(x.data(), y.data(), n, 1e-6f, o); });
    both("silu_mul", [&](const KernelTable& k, float* o) { k.silu_mul(x.data(), y.data(), n, o); });
    both("sigmoid_mul", [&](const KernelTable& k, float* o) { k.sigmoid_mul(x.data(), n, o); });
    both("dot_gate", [&](const KernelTable& k, float* o) { k.dot_gate(x.data(), z.data(), n, o, n); });
    both("gated_norm", [&](const KernelTable& k, float* o) { k.gated_norm(x.data(), y.data(), z.data(), n, 1e-6f, o); });
    both("unit", [&](const KernelTable& k, float* o) { k.unit(o, 0.3f, n); });
    const Floats panels = floats(2 * n, 3.0f);
    both("silu_panels", [&](const KernelTable& k, float* o) { k.silu_panels(panels.data(), n, o); });
    const Floats taps = floats(4 * n);
    const float* const inputs[] = {x.data(), y.data(), z.data(), panels.data()};
    both("conv_silu", [&](const KernelTable& k, float* o) { k.conv_silu(inputs, taps.data(), n, n, o); });
    const Floats weights = floats(4);
    both("add_weighted", [&](const KernelTable& k, float* o) { k.add_weighted(inputs, weights.data(), 4, n, o); });
    for (const uint32_t block : {32u, 64u, 128u, 256u}) {
      const uint32_t blocks = (n + block - 1) / block;
      for (const bool norm : {false, true}) {
        std::vector<int8_t> quants[2];
        Floats scales[2];
        std::vector<int32_t> sums[2];
        for (int i = 0; i < 2; ++i) {
          const KernelTable& k = i ? tier_ : twin_;
          quants[i].resize(n + 64);
          scales[i].resize(blocks);
          sums[i].resize(blocks);
          if (norm)
            k.rmsnorm_quantize(x.data(), y.data(), n, 1e-6f, block, quants[i].data(), scales[i].data(), sums[i].data());
          else
            k.quantize(y.data(), n, block, quants[i].data(), scales[i].data(), sums[i].data());
        }
        const char* name = norm ? "rmsnorm_quantize" : "quantize";
        compare(name, shape, quants[0].data(), quants[1].data(), n);
        compare(name, shape, scales[0].data(), scales[1].data(), blocks);
        compare(name, shape, sums[0].data(), sums[1].data(), blocks);
      }
    }
  }

  void delta_gates(uint32_t heads) {
    const Floats rate = floats(heads, -1.0f), bias = floats(heads), decay = floats(heads), write = floats(heads);
    Floats decays[2] = {decay, decay}, writes[2] = {write, write};
    twin_.delta_gates(rate.data(), bias.data(), heads, decays[0].data(), writes[0].data());
    tier_.delta_gates(rate.data(), bias.data(), heads, decays[1].data(), writes[1].data());
    compare("delta_gates", std::to_string(heads), decays[0].data(), decays[1].data(), heads);
    compare("delta_gates", std::to_string(heads), writes[0].data(), writes[1].data(), heads);
  }

  void delta_rule(uint32_t key_size) {
    constexpr uint32_t kColumns = 64;
    for (const uint32_t tokens : {1u, 2u, 5u}) {
      const size_t stride = key_size + kColumns;
      const Floats q = floats(tokens * stride, 0.1f), k = floats(tokens * stride, 0.1f), v = floats(tokens * stride);
      const Floats state = floats(size_t{key_size} * kColumns), decay(tokens, 0.9f), write(tokens, 0.6f);
      Floats states[2] = {state, state}, values[2] = {v, v};
      for (int i = 0; i < 2; ++i)
        (i ? tier_ : twin_)
            .delta_rule({states[i].data(), q.data(), k.data(), values[i].data(), stride, decay.data(), write.data(), 1, tokens,
                         key_size, kColumns});
      const std::string shape = std::to_string(key_size) + " x " + std::to_string(tokens);
      compare("delta_rule", shape, states[0].data(), states[1].data(), state.size());
      compare("delta_rule", shape, values[0].data(), values[1].data(), v.size());
    }
  }

  void route(uint32_t experts) {
    const uint32_t top = experts < 8 ? 3 : 8;
    for (const bool normalize : {false, true}) {
      Floats logits = floats(experts);
      logits[experts / 2] = logits[1];  // the lower index wins
      uint32_t chosen[2][8];
      float weights[2][8];
      for (int i = 0; i < 2; ++i) (i ? tier_ : twin_).route(logits.data(), experts, top, normalize, chosen[i], weights[i]);
      compare("route", std::to_string(experts), chosen[0], chosen[1], top);
      compare("route", std::to_string(experts), weights[0], weights[1], top);
    }
  }

  void rope(KvType type, uint32_t d) {
    constexpr uint32_t kHeads = 4, kKvHeads = 2;
    const KvBlockLayout layout = kv_block_layout(type, d);
    const Floats queries = floats(kHeads * d), keys = floats(kKvHeads * d), values = floats(kKvHeads * d);
    const Floats bias = floats(kHeads * d), weight = floats(d), cos_sin = floats(d);
    for (const bool plain : {false, true}) {
      Bytes q[2], page[2], open[2];
      Floats q_scales[2];
      for (int i = 0; i < 2; ++i) {
        q[i] = aligned(kHeads * d * 4);
        page[i] = aligned(kKvHeads * layout.bytes);
        open[i] = aligned(kKvHeads * open_keys_bytes(d));
        q_scales[i].resize(kHeads);
        RopeTask task{queries.data(),
                      keys.data(),
                      values.data(),
                      d,
                      plain ? nullptr : bias.data(),
                      plain ? nullptr : bias.data(),
                      nullptr,
                      weight.data(),
                      weight.data(),
                      cos_sin.data(),
                      1e-6f,
                      kHeads,
                      kKvHeads,
                      d,
                      plain ? d : d / 4,
                      type,
                      q[i].get(),
                      q_scales[i].data(),
                      page[i].get(),
                      open[i].get(),
                      37,
                      0,
                      kKvHeads};
        (i ? tier_ : twin_).qk_norm_rope(task);
      }
      const std::string shape = std::to_string(static_cast<int>(type)) + " " + std::to_string(d);
      compare("qk_norm_rope", shape, q[0].get(), q[1].get(), kHeads * d * query_width(type));
      if (rounds_queries(type)) compare("qk_norm_rope", shape, q_scales[0].data(), q_scales[1].data(), kHeads);
      compare("qk_norm_rope", shape, page[0].get(), page[1].get(), kKvHeads * layout.bytes);
      compare("qk_norm_rope", shape, open[0].get(), open[1].get(), kKvHeads * open_keys_bytes(d));
    }
  }

  // So many numbers of a type; any codes of integers.
  void fill(KvType type, uint8_t* at, size_t n) {
    for (size_t i = 0; is_integer(type) && i < kv_bytes(type, n); ++i) at[i] = static_cast<uint8_t>(random_());
    if (is_integer(type)) return;
    const Floats x = floats(n);
    for (size_t i = 0; i < n; ++i) {
      const uint16_t half = bf16_from_f32(x[i]);
      if (type == KvType::bf16)
        std::memcpy(at + 2 * i, &half, 2);
      else
        std::memcpy(at + 4 * i, &x[i], 4);
    }
  }

  void attention(KvType type, uint32_t d) {
    constexpr uint32_t kKvHeads = 2, kGroup = 3;
    const KvBlockLayout layout = kv_block_layout(type, d);
    for (const auto& [position, tokens] : {std::pair{0u, 1u}, {63u, 1u}, {130u, 1u}, {65u, 7u}, {192u, 15u}}) {
      const uint32_t pages = (position + tokens + kKvBlock - 1) / kKvBlock, heads = tokens == 1 ? kKvHeads : 1;
      Bytes cache = aligned(pages * kKvHeads * layout.bytes), open = aligned(kKvHeads * open_keys_bytes(d));
      std::vector<const uint8_t*> table;
      for (uint32_t p = 0; p < pages; ++p) {
        uint8_t* const page = cache.get() + p * kKvHeads * layout.bytes;
        table.push_back(page);
        for (uint32_t h = 0; h < kKvHeads; ++h) {
          uint8_t* const block = page + h * layout.bytes;
          fill(type, block + layout.keys, size_t{kKvBlock} * d);
          fill(type, block + layout.values, size_t{kKvBlock} * d);
          if (!is_integer(type)) continue;
          fill(KvType::f32, block + layout.key_scales, (layout.values - layout.key_scales) / 4);
          for (uint32_t i = 0; i < kKvBlock; ++i) {
            const float scale = 0.01f * static_cast<float>(1 + random_() % 20);
            std::memcpy(block + layout.value_scales + 4 * i, &scale, 4);
          }
        }
      }
      fill(KvType::bf16, open.get(), size_t{kKvHeads} * kKvBlock * d);
      const size_t rows = size_t{tokens} * kKvHeads * kGroup;
      Bytes q = aligned(rows * d * query_width(type));
      fill(rounds_queries(type) ? KvType::int8 : KvType::f32, q.get(), rows * d);
      if (rounds_queries(type))
        for (size_t i = 0; i < rows * d; ++i)
          if (q[i] == 0x80) q[i] = 0;  // no query is -128
      const Floats q_scales(rows, 0.003f);
      Floats outs[2] = {Floats(rows * d, 1.0f), Floats(rows * d, 1.0f)};
      const Bytes scratch = aligned(kAttentionScratchBytes);
      for (int i = 0; i < 2; ++i) {
        const AttentionTask task{
            q.get(), q_scales.data(), kKvHeads * kGroup, heads,          tokens,       kGroup, d, position, type, table.data(),
            0,       open.get(),      nullptr,           outs[i].data(), scratch.get()};
        (i ? tier_ : twin_).attention(task);
      }
      compare("attention",
              std::to_string(static_cast<int>(type)) + " " + std::to_string(d) + " at " + std::to_string(position) + " x " +
                  std::to_string(tokens),
              outs[0].data(), outs[1].data(), rows * d);
    }
  }

  void pack_keys(uint32_t d) {
    Bytes open = aligned(open_keys_bytes(d));
    fill(KvType::bf16, open.get(), size_t{kKvBlock} * d);
    const size_t bytes = kv_block_layout(KvType::int4, d).bytes;
    Bytes blocks[2] = {aligned(bytes), aligned(bytes)};
    twin_.pack_keys(open.get(), d, blocks[0].get());
    tier_.pack_keys(open.get(), d, blocks[1].get());
    compare("pack_keys", std::to_string(d), blocks[0].get(), blocks[1].get(), bytes);
  }

  const KernelTable &tier_, &twin_;
  std::mt19937 random_;
};

}  // namespace

// Arguments: a seed. Prints a line for each tier; ends with 1 when a result differs.
int main(int argc, char** argv) {
  const auto seed = static_cast<uint32_t>(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1);
  long wrong = 0;
  for (const Isa isa : supported_isas()) {
    if (isa == Isa::scalar) continue;
    Comparison comparison(kernel_table(isa), seed);
    comparison.run();
    std::printf("%s: %ld cases, %ld differ\n", isa_name(isa), comparison.cases, comparison.wrong);
    wrong += comparison.wrong;
  }
  return wrong ? 1 : 0;
}
