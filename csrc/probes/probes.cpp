#include "probes/probes.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "exec/steps.h"
#include "exec/thread_pool.h"
#include "probes/limits.h"
#include "probes/stopwatch.h"

namespace q3e {
namespace {

constexpr size_t kReadBytes = size_t{512} << 20, kReadItem = size_t{1} << 20;

}  // namespace

// Small pages, as most programs have.
ReadProbe::ReadProbe(int threads) : buffer_(kReadBytes, "probe"), pool_(threads) {
  pool_.run([&](Worker& w) {
    w.for_each(kReadBytes / kReadItem,
               [&](uint32_t i) { std::memset(buffer_.data() + i * kReadItem, static_cast<int>(i), kReadItem); });
  });
  pass(0);
}

double ReadProbe::pass(size_t ahead) {
  StreamFn* const read = limits(supported_isas().back()).stream;
  const auto begin = Clock::now();
  pool_.run([&](Worker& w) {
    w.for_each(kReadBytes / kReadItem, [&](uint32_t i) { sink_ += read(buffer_.data() + i * kReadItem, kReadItem, ahead); });
  });
  return since(begin);
}

double ReadProbe::measure(double seconds) {
  // With and without prefetching: which of them is faster changes with the machine and with its neighbours. The middle of the
  // passes, as for what is held against it: neighbours take from both.
  std::vector<double> times[2];
  for (const auto begin = Clock::now(); times[0].empty() || since(begin) < seconds;)
    for (int i = 0; i < 2; ++i) times[i].push_back(pass(i == 0 ? 0 : 8192));
  double best = 0;
  for (std::vector<double>& each : times) {
    const auto middle = each.begin() + static_cast<ptrdiff_t>(each.size() / 2);
    std::nth_element(each.begin(), middle, each.end());
    best = std::max(best, static_cast<double>(kReadBytes) / *middle);
  }
  return best;
}

double int8_peak(Isa isa, int threads, double seconds) {
  constexpr int64_t kRounds = 20000;
  DotChainFn* const dots = limits(isa).dot_chain;
  ThreadPool pool(threads);
  std::atomic<int64_t> sink{0}, operations{0};
  double best = 0;
  for (const auto begin = Clock::now(); since(begin) < seconds;) {
    operations = 0;
    const auto start = Clock::now();
    pool.run([&](Worker& w) {
      w.for_each(static_cast<uint32_t>(threads) * 8, [&](uint32_t) {
        int32_t result = 0;
        operations += dots(kRounds, &result);
        sink += result;
      });
    });
    best = std::max(best, static_cast<double>(operations) / since(start));
  }
  return best;
}

double time_matmul(Isa isa, const BlockFormat& format, uint32_t rows, uint32_t columns, uint32_t tokens, int threads,
                   double seconds, uint64_t bytes) {
  const KernelTable& kernels = kernel_table(isa);
  const uint64_t matrix_bytes = packed_bytes(format, rows, columns), count = std::max<uint64_t>(1, bytes / matrix_bytes);
  const MemoryRegion weights(count * matrix_bytes, "probe");
  std::memset(weights.data(), 0x11, count * matrix_bytes);
  const uint32_t padded = static_cast<uint32_t>(panel_count(rows)) * kPanelRows, block = format.block;
  std::vector<float> x(size_t{tokens} * columns, 0.5f), out(size_t{tokens} * padded), scales(size_t{tokens} * (columns / 32));
  const uint32_t stride = activation_stride(columns);
  std::vector<int8_t> quants(size_t{tokens} * stride);
  std::vector<int32_t> sums(scales.size());
  const uint32_t blocks = block ? (columns + block - 1) / block : 0;
  if (block)
    for (uint32_t t = 0; t < tokens; ++t)
      kernels.quantize(x.data() + size_t{t} * columns, columns, block, quants.data() + size_t{t} * stride,
                       scales.data() + size_t{t} * blocks, sums.data() + size_t{t} * blocks);
  const MemoryRegion scratch(sizeof(WorkerScratch) * static_cast<size_t>(threads), "probe");
  ThreadPool pool(threads);
  const uint32_t panels = padded / kPanelRows, step = tokens <= kStreamTokens ? 2 : kGemmPanels;
  const auto pass = [&](uint64_t m) {
    const MatrixView w{weights.data() + m * matrix_bytes, &format, rows, columns, panel_layout(format, columns)};
    pool.run([&](Worker& worker) {
      uint8_t* own = scratch.data() + sizeof(WorkerScratch) * static_cast<size_t>(worker.index);
      worker.for_each((panels + step - 1) / step, [&](uint32_t item) {
        const uint32_t first = item * step, last = std::min(first + step, panels);
        const Activations all{tokens,        columns,       stride,     block, block ? nullptr : x.data(),
                              quants.data(), scales.data(), sums.data()};
        for_each_part(all, [&](uint32_t t, const Activations& part) {
          kernels.matmul(w, first, last, part, out.data() + size_t{t} * padded + first * kPanelRows, padded, own);
        });
      });
    });
  };
  const auto each_once = [&] {
    for (uint64_t m = 0; m < count; ++m) pass(m);
  };
  each_once();
  return time_calls(seconds, each_once) / static_cast<double>(count);
}

double time_barrier(int threads, double seconds) {
  constexpr int kRounds = 2000;
  ThreadPool pool(threads);
  double best = 1;
  for (const auto begin = Clock::now(); since(begin) < seconds;) {
    const auto start = Clock::now();
    pool.run([&](Worker& w) {
      for (int i = 0; i < kRounds; ++i) w.for_each(0, [](uint32_t) {});
    });
    best = std::min(best, since(start) / kRounds);
  }
  return best;
}

}  // namespace q3e
