// Single kernels, for tests and benches.
#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "bindings/bindings.h"
#include "exec/kv_cache.h"
#include "exec/rotary.h"
#include "exec/steps.h"
#include "probes/probes.h"
#include "probes/tier_amx_emulated.h"
#include "runtime/plan.h"

namespace q3e::bindings {

const KernelTable& kernels_of(const std::string& isa) {
#if defined(__x86_64__)
  if (isa == "amx_emulated") {
    require(isa_supported(Isa::avx512), "isa: expected a machine with AVX-512 for amx_emulated");
    return tier_amx_emulated;
  }
#endif
  return kernel_table(parse_isa(isa));
}

namespace {

// x: [tokens, columns], rounded by f(row, columns, quants, scales, sums); the result: quants of that shape, scales and sums
// [tokens, blocks].
template <class F>
py::tuple rounded(const Floats& x, uint32_t block, F&& f) {
  require(x.ndim() == 2, "x: expected [tokens, columns]");
  require(block >= 32 && block <= kSuperBlock, "block: expected 32 to 256");
  require(x.shape(1) % 32 == 0, "columns: expected a multiple of 32");
  const py::ssize_t tokens = x.shape(0), columns = x.shape(1), blocks = (columns + block - 1) / block;
  py::array_t<int8_t> quants({tokens, columns});
  py::array_t<float> scales({tokens, blocks});
  py::array_t<int32_t> sums({tokens, blocks});
  for (py::ssize_t t = 0; t < tokens; ++t)
    f(x.data(t, 0), static_cast<uint32_t>(columns), quants.mutable_data(t, 0), scales.mutable_data(t, 0),
      sums.mutable_data(t, 0));
  return py::make_tuple(quants, scales, sums);
}

py::tuple kernel_quantize(const std::string& isa, const Floats& x, uint32_t block) {
  return rounded(x, block, [&](const float* row, uint32_t columns, int8_t* quants, float* scales, int32_t* sums) {
    kernels_of(isa).quantize(row, columns, block, quants, scales, sums);
  });
}

py::tuple kernel_rmsnorm_quantize(const std::string& isa, const Floats& x, const Floats& weight, float eps, uint32_t block) {
  require(x.ndim() == 2 && weight.size() == x.shape(1), "x: expected [tokens, columns], weight: [columns]");
  return rounded(x, block, [&](const float* row, uint32_t columns, int8_t* quants, float* scales, int32_t* sums) {
    kernels_of(isa).rmsnorm_quantize(row, weight.data(), columns, eps, block, quants, scales, sums);
  });
}

py::array_t<float> kernel_rmsnorm(const std::string& isa, const Floats& x, const Floats& weight, float eps) {
  require(x.ndim() == 2 && weight.size() == x.shape(1) && x.shape(1) % 16 == 0,
          "x: expected [tokens, columns], weight: [columns]");
  py::array_t<float> out({x.shape(0), x.shape(1)});
  for (py::ssize_t t = 0; t < x.shape(0); ++t)
    kernels_of(isa).rmsnorm(x.data(t, 0), weight.data(), static_cast<uint32_t>(x.shape(1)), eps, out.mutable_data(t, 0));
  return out;
}

py::array_t<float> kernel_silu_mul(const std::string& isa, const Floats& gate, const Floats& up) {
  require(gate.ndim() == 1 && up.size() == gate.size() && gate.size() % 16 == 0,
          "gate, up: expected two vectors of a multiple of 16");
  py::array_t<float> out(gate.size());
  kernels_of(isa).silu_mul(gate.data(), up.data(), static_cast<uint32_t>(gate.size()), out.mutable_data());
  return out;
}

py::array_t<float> kernel_silu_panels(const std::string& isa, const Floats& gate_up) {
  require(gate_up.ndim() == 1 && gate_up.size() % 32 == 0, "gate_up: expected a vector of a multiple of 32");
  py::array_t<float> out(gate_up.size() / 2);
  kernels_of(isa).silu_panels(gate_up.data(), static_cast<uint32_t>(out.size()), out.mutable_data());
  return out;
}

// logits: [tokens, experts]; the result: chosen and weights, [tokens, top].
py::tuple kernel_route(const std::string& isa, const Floats& logits, uint32_t top, bool normalize) {
  require(logits.ndim() == 2 && logits.shape(1) >= 1 && logits.shape(1) <= kMaxExperts, "logits: expected [tokens, experts]");
  const auto tokens = logits.shape(0), experts = logits.shape(1);
  require(top >= 1 && top <= experts, "top: expected 1 to the number of experts");
  py::array_t<uint32_t> chosen({tokens, static_cast<py::ssize_t>(top)});
  py::array_t<float> weights({tokens, static_cast<py::ssize_t>(top)});
  RouteFn* const route = kernels_of(isa).route;
  std::vector<float> padded(kMaxExperts, std::numeric_limits<float>::quiet_NaN());  // what lies behind must not matter
  for (py::ssize_t t = 0; t < tokens; ++t) {
    std::copy_n(logits.data(t, 0), experts, padded.begin());
    route(padded.data(), static_cast<uint32_t>(experts), top, normalize, chosen.mutable_data(t, 0), weights.mutable_data(t, 0));
  }
  return py::make_tuple(chosen, weights);
}

// rows: [count, columns]; the result: x + their weighted sum.
py::array_t<float> kernel_add_weighted(const std::string& isa, const Floats& rows, const Floats& weights, const Floats& x) {
  require(rows.ndim() == 2 && weights.size() == rows.shape(0) && x.size() == rows.shape(1) && x.size() % 16 == 0,
          "rows, weights, x: expected [count, columns], [count] and [columns], a multiple of 16");
  std::vector<const float*> pointers;
  for (py::ssize_t r = 0; r < rows.shape(0); ++r) pointers.push_back(rows.data(r, 0));
  py::array_t<float> out(x.size());
  std::copy_n(x.data(), x.size(), out.mutable_data());
  kernels_of(isa).add_weighted(pointers.data(), weights.data(), static_cast<uint32_t>(pointers.size()),
                               static_cast<uint32_t>(x.size()), out.mutable_data());
  return out;
}

// Products of quantized weights with activations rounded by the same tier. x: [tokens, columns]; the result [tokens, rows].
py::array_t<float> kernel_matmul(const std::string& isa, const std::string& name, const Bytes& packed, uint32_t rows,
                                 uint32_t columns, const Floats& x) {
  const BlockFormat& format = block_format(name);
  require(format.kind != FormatKind::vector, "format: expected a matrix format");
  require(static_cast<uint64_t>(packed.size()) == checked_packed_nbytes(format, rows, columns),
          "packed: expected the bytes of rows x columns");
  require(x.ndim() == 2 && x.shape(1) == columns, "x: expected [tokens, columns]");
  const KernelTable& kernels = kernels_of(isa);
  const auto tokens = static_cast<uint32_t>(x.shape(0));
  const uint32_t block = format.block, blocks = block ? (columns + block - 1) / block : 0;
  const uint32_t stride = activation_stride(columns);
  std::vector<int8_t> quants(size_t{tokens} * stride, int8_t{99});  // what lies between the rows must not matter
  std::vector<float> scales(size_t{tokens} * blocks);
  std::vector<int32_t> sums(size_t{tokens} * blocks);
  for (uint32_t t = 0; t < tokens && block; ++t)
    kernels.quantize(x.data(t, 0), columns, block, quants.data() + size_t{t} * stride, scales.data() + size_t{t} * blocks,
                     sums.data() + size_t{t} * blocks);
  const MatrixView w{packed.data(), &format, rows, columns, panel_layout(format, columns)};
  py::array_t<float> out({static_cast<py::ssize_t>(tokens), static_cast<py::ssize_t>(rows)});
  const auto scratch = std::make_unique<WorkerScratch>();
  std::fill(std::begin(scratch->matmul), std::end(scratch->matmul), uint8_t{99});  // nor what was in scratch before
  const Activations all{tokens, columns, stride, block, x.data(), quants.data(), scales.data(), sums.data()};
  for (uint32_t first = 0; first < w.panels(); first += kGemmPanels) {
    const uint32_t last = std::min(first + kGemmPanels, w.panels()), width = (last - first) * kPanelRows;
    for_each_part(all, [&](uint32_t t, const Activations& part) {
      kernels.matmul(w, first, last, part, scratch->tile, width, scratch->matmul);
      for (uint32_t i = 0; i < part.tokens; ++i)
        for (uint32_t r = 0; r < width && first * kPanelRows + r < rows; ++r)
          *out.mutable_data(t + i, first * kPanelRows + r) = scratch->tile[size_t{i} * width + r];
    });
  }
  return out;
}

// A sequence through QK-norm, RoPE, KV write and attention. qkv: [tokens, heads + 2 kv_heads, head_dim]; the result [tokens,
// heads, head_dim]. A task is `tile` tokens and `together` KV heads.
py::array_t<float> kernel_attention(const std::string& isa, const std::string& kv, const Floats& qkv, uint32_t heads,
                                    uint32_t kv_heads, const Floats& frequencies, const std::optional<Floats>& q_weight,
                                    const std::optional<Floats>& k_weight, const std::optional<Floats>& bias, float eps,
                                    uint32_t tile, uint32_t together) {
  const KernelTable& kernels = kernels_of(isa);
  const KvType type = parse_kv(kv);
  require(qkv.ndim() == 3 && qkv.shape(1) == heads + 2 * kv_heads && heads % kv_heads == 0,
          "qkv: expected [tokens, heads + 2 kv_heads, head_dim]");
  const auto tokens = static_cast<uint32_t>(qkv.shape(0)), d = static_cast<uint32_t>(qkv.shape(2)), group = heads / kv_heads;
  const auto rotated = static_cast<uint32_t>(2 * frequencies.size());
  require(d % 32 == 0 && d <= kMaxHeadDim && rotated >= 2 && rotated <= d,
          "head_dim: expected a multiple of 32 with at most half as many frequencies");
  static_assert(kAttentionRows == 48);
  require(tile >= 1 && (tile == 1 || tile * group <= kAttentionRows) && group <= kMaxGroup,
          "tile: expected tile * group of at most 48");
  require(together >= 1 && (together == 1 || together * tile * group <= kMaxGroup),
          "together: expected together * tile * group of at most 64");
  const size_t head_bytes = kv_block_layout(type, d).bytes, page_bytes = kv_heads * head_bytes;
  KvCache cache(page_bytes, 1, std::max(tokens, 1u), KvCache::pages_for(std::max(tokens, 1u)));
  cache.grow(0, tokens);
  for (uint32_t p = 0; p < tokens; p += kKvBlock)  // NaNs: what lies behind the last position must not matter
    std::memset(cache.page(0, p), 0xff, page_bytes);
  std::vector<uint8_t> q(size_t{tokens} * heads * d * 4);
  std::vector<float> q_scales(size_t{tokens} * heads), cos_sin(rotated + 16);
  std::vector<uint8_t> open_keys(packs_keys(type) ? KvCache::pages_for(tokens) * kv_heads * open_keys_bytes(d) : 0, 0xff);
  const auto open_keys_of = [&](uint32_t position, uint32_t head) -> uint8_t* {
    return packs_keys(type) ? open_keys.data() + (position / kKvBlock * kv_heads + head) * open_keys_bytes(d) : nullptr;
  };
  const size_t q_width = query_width(type);
  const float* q_bias = bias ? bias->data() : nullptr;
  for (uint32_t t = 0; t < tokens; ++t) {
    fill_cos_sin(t, frequencies.data(), rotated / 2, 1.0f, cos_sin.data());
    kernels.qk_norm_rope({qkv.data(t, 0, 0),
                          qkv.data(t, heads, 0),
                          qkv.data(t, heads + kv_heads, 0),
                          d,
                          q_bias,
                          q_bias ? q_bias + size_t{heads} * d : nullptr,
                          q_bias ? q_bias + size_t{heads + kv_heads} * d : nullptr,
                          q_weight ? q_weight->data() : nullptr,
                          k_weight ? k_weight->data() : nullptr,
                          cos_sin.data(),
                          eps,
                          heads,
                          kv_heads,
                          d,
                          rotated,
                          type,
                          q.data() + size_t{t} * heads * d * q_width,
                          q_scales.data() + size_t{t} * heads,
                          cache.page(0, t),
                          open_keys_of(t, 0),
                          t % kKvBlock,
                          0,
                          kv_heads});
    for (uint32_t h = 0; packs_keys(type) && t % kKvBlock == kKvBlock - 1 && h < kv_heads; ++h)
      kernels.pack_keys(open_keys_of(t, h), d, cache.page(0, t) + h * head_bytes);
  }
  py::array_t<float> out({qkv.shape(0), static_cast<py::ssize_t>(heads), qkv.shape(2)});
  const auto scratch = std::make_unique<WorkerScratch>();
  for (uint32_t t = 0, count; t < tokens; t += count) {
    count = std::min(tile, tokens - t);
    if (packs_keys(type)) count = std::min(count, kKvBlock - t % kKvBlock);
    for (uint32_t h = 0; h < kv_heads; h += together) {
      const size_t first = size_t{t} * heads + size_t{h} * group;
      kernels.attention({q.data() + first * d * q_width, q_scales.data() + first, heads, std::min(together, kv_heads - h), count,
                         group, d, t, type, cache.pages(0), h * head_bytes, open_keys_of(t, h), nullptr,
                         out.mutable_data() + first * d, scratch->attention});
    }
  }
  return out;
}

py::array_t<float> kernel_cos_sin(uint32_t position, const Floats& frequencies, float factor) {
  py::array_t<float> out(frequencies.size() * 2);
  fill_cos_sin(position, frequencies.data(), static_cast<uint32_t>(frequencies.size()), factor, out.mutable_data());
  return out;
}

AttentionShape attention_shape(uint32_t heads, uint32_t kv_heads, uint32_t head_dim) {
  require(kv_heads >= 1 && heads % kv_heads == 0 && heads / kv_heads <= kMaxGroup,
          "heads: expected a multiple of kv_heads, at most 64 times");
  require(head_dim >= 32 && head_dim % 32 == 0 && head_dim <= kMaxHeadDim, "head_dim: expected a multiple of 32 up to 256");
  return {heads, kv_heads, head_dim};
}

}  // namespace

void bind_kernels(py::module_ m) {
  bind_delta_net(m);
  m.def("quantize_activations", &kernel_quantize, "isa"_a, "x"_a, "block"_a);
  m.def("rmsnorm", &kernel_rmsnorm, "isa"_a, "x"_a, "weight"_a, "eps"_a);
  m.def("rmsnorm_quantize", &kernel_rmsnorm_quantize, "isa"_a, "x"_a, "weight"_a, "eps"_a, "block"_a);
  m.def("silu_mul", &kernel_silu_mul, "isa"_a, "gate"_a, "up"_a);
  m.def("silu_panels", &kernel_silu_panels, "isa"_a, "gate_up"_a);
  m.def("route", &kernel_route, "isa"_a, "logits"_a, "top"_a, "normalize"_a);
  m.def("add_weighted", &kernel_add_weighted, "isa"_a, "rows"_a, "weights"_a, "x"_a);
  m.def("matmul", &kernel_matmul, "isa"_a, "format"_a, "packed"_a, "rows"_a, "columns"_a, "x"_a);
  m.def("attention", &kernel_attention, "isa"_a, "kv"_a, "qkv"_a, "heads"_a, "kv_heads"_a, "frequencies"_a,
        "q_weight"_a = py::none(), "k_weight"_a = py::none(), "bias"_a = py::none(), "eps"_a = 1e-6f, "tile"_a = 1,
        "together"_a = 1);
  m.def("cos_sin", &kernel_cos_sin, "position"_a, "frequencies"_a, "factor"_a = 1.0f);
  m.def(
      "time_matmul",
      [](const std::string& isa, const std::string& format, uint32_t rows, uint32_t columns, uint32_t tokens, int threads,
         double seconds, uint64_t bytes) {
        checked_packed_nbytes(block_format(format), rows, columns);
        require(threads >= 1 && threads <= 256 && tokens >= 1, "threads: expected 1 to 256, tokens: at least 1");
        return time_matmul(parse_isa(isa), block_format(format), rows, columns, tokens, threads, seconds, bytes);
      },
      "isa"_a, "format"_a, "rows"_a, "columns"_a, "tokens"_a, "threads"_a, "seconds"_a = 0.5, "bytes"_a = uint64_t{256} << 20,
      GilReleased());
  m.def(
      "time_attention",
      [](const std::string& isa, const std::string& kv, uint32_t heads, uint32_t kv_heads, uint32_t head_dim, uint32_t context,
         uint32_t layers, int threads, double seconds, uint32_t tokens) {
        require(threads >= 1 && threads <= 256 && tokens >= 1 && context >= tokens && layers >= 1,
                "threads: expected 1 to 256, tokens: 1 to context, layers: at least 1");
        const AttentionShape shape = attention_shape(heads, kv_heads, head_dim);
        return time_attention(parse_isa(isa), parse_kv(kv), shape, context, tokens, layers, threads, seconds);
      },
      "isa"_a, "kv"_a, "heads"_a, "kv_heads"_a, "head_dim"_a, "context"_a, "layers"_a, "threads"_a, "seconds"_a = 0.5,
      "tokens"_a = 1, GilReleased());
  m.def(
      "time_qk_norm_rope",
      [](const std::string& isa, const std::string& kv, uint32_t heads, uint32_t kv_heads, uint32_t head_dim, double seconds) {
        return time_qk_norm_rope(parse_isa(isa), parse_kv(kv), attention_shape(heads, kv_heads, head_dim), seconds);
      },
      "isa"_a, "kv"_a, "heads"_a, "kv_heads"_a, "head_dim"_a, "seconds"_a = 0.1, GilReleased());
  m.def(
      "replay_experts",
      [](const std::shared_ptr<OpenFile>& f, uint32_t slots, const py::array_t<uint32_t, py::array::c_style>& trace, size_t warm,
         double seconds) {
        const std::span<const uint32_t> all(trace.data(), static_cast<size_t>(trace.size()));
        ExpertReplay r{};
        {
          const WithoutGil released;
          r = replay_experts({f, &f->file}, f->model, slots, all, warm, seconds);
        }
        return py::dict("tokens"_a = r.tokens, "seconds"_a = r.seconds, "disk"_a = r.disk, "hits"_a = r.metrics.hits,
                        "misses"_a = r.metrics.misses, "bytes_read"_a = r.metrics.bytes_read,
                        "wait_seconds"_a = r.metrics.wait_seconds);
      },
      "file"_a, "slots"_a, "trace"_a, "warm"_a, "seconds"_a = 60.0);
  m.def(
      "file_bandwidth", [](const OpenFile& f, double seconds) { return file_bandwidth(f.file, seconds); }, "file"_a,
      "seconds"_a = 1.0, GilReleased());
  m.def("time_barrier", &time_barrier, "threads"_a, "seconds"_a = 0.2, GilReleased());
}

}  // namespace q3e::bindings
