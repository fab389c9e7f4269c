#include "models/attention.h"

#include <string>

#include "base/error.h"

namespace q3e {

Attention::Attention(const ModelConfig& c, bool gated) : shape_{c.heads, c.kv_heads, c.head_size}, gated_(gated) {
  if (shape_.group() > kMaxGroup)
    throw Error(Status::unsupported_model, "attention: expected at most " + std::to_string(kMaxGroup) +
                                               " query heads a KV head, found " + std::to_string(shape_.group()));
  norm_ = add(vector("attn_norm", c.hidden_size));
  q_ = add(matrix("attn_q", (gated ? 2 : 1) * c.query_size(), c.hidden_size, 0));
  k_ = add(matrix("attn_k", c.kv_size(), c.hidden_size, 0));
  v_ = add(matrix("attn_v", c.kv_size(), c.hidden_size, 0));
  if (c.qkv_bias) {
    const auto bias = [&](const char* name, uint32_t size) {
      TensorSpec spec = vector(name, size);
      spec.suffix = ".bias";
      return add(spec);
    };
    q_bias_ = bias("attn_q", c.query_size());
    k_bias_ = bias("attn_k", c.kv_size());
    v_bias_ = bias("attn_v", c.kv_size());
  }
  if (c.qk_norm) {
    q_norm_ = add(vector("attn_q_norm", c.head_size));
    k_norm_ = add(vector("attn_k_norm", c.head_size));
  }
  output_ = add(matrix("attn_output", c.hidden_size, c.query_size(), 1));
}

StateSpec Attention::state(KvType kv) const {
  return {shape_.kv_heads * kv_block_layout(kv, shape_.head_dim).bytes, 0,
          packs_keys(kv) ? shape_.kv_heads * open_keys_bytes(shape_.head_dim) : 0};
}

void Attention::clear_rows(KvType kv, uint32_t first, uint8_t* page) const {
  const size_t block = kv_block_layout(kv, shape_.head_dim).bytes;
  for (uint32_t h = 0; h < shape_.kv_heads; ++h) q3e::clear_rows(kv, shape_.head_dim, first, page + h * block);
}

Attention::Scratch Attention::scratch(const ScratchRequest& request) const {
  const size_t t = request.tokens, d = shape_.head_dim;
  Layout layout;
  Scratch s{};
  s.qkv = layout.take(t * row_floats() * 4);
  s.q = layout.take(t * shape_.heads * d * query_width(request.kv));
  s.q_scales = layout.take(t * shape_.heads * 4);
  s.out = layout.take(t * shape_.heads * d * 4);
  s.open_keys = layout.take(Chunk::most_spare_pages(request.tokens, request.sequences) * state(request.kv).open_bytes);
  s.bytes = layout.end();
  return s;
}

size_t Attention::scratch_bytes(const ScratchRequest& request) const { return scratch(request).bytes; }

// x += o(attention(rope(norm(q(n))), rope(norm(k(n))), v(n)) * sigmoid(gate(n))) with n = norm(x); some have no gate
bool Attention::step(const Steps& steps, const BlockPlace& at) const {
  const Tensor* t = at.tensors;
  const Scratch s = scratch(steps.pass.request);
  const size_t d = shape_.head_dim, stride = row_floats();
  const auto optional = [&](uint32_t index) { return index == kNone ? nullptr : t[index].vector; };
  auto *qkv = steps.scratch<float>(s.qkv), *out = steps.scratch<float>(s.out);
  float *q = qkv, *k = q + shape_.heads * query_stride(), *v = k + shape_.kv_heads * d;

  const Rows n = steps.norm(t[norm_], {&t[q_], &t[k_], &t[v_]});
  steps.project(n, {{t[q_], q, stride}, {t[k_], k, stride}, {t[v_], v, stride}});
  steps.attend({shape_, at.states, optional(q_norm_), optional(k_norm_), optional(q_bias_), optional(k_bias_), optional(v_bias_),
                q, k, v, gated_ ? q + d : nullptr, query_stride(), stride, steps.scratch<uint8_t>(s.q),
                steps.scratch<float>(s.q_scales), out, steps.scratch<uint8_t>(s.open_keys)});
  const Rows attended = steps.round(out, t[output_]);
  steps.project(attended, {{t[output_], steps.x(), steps.pass.sizes.hidden}}, Epilogue::add);
  return true;
}

}  // namespace q3e
