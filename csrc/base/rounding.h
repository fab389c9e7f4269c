// The processor's floating-point control word, which belongs to the program around us.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <cfenv>
#endif

namespace q3e {

// While it lives, this thread computes as C++ expects: to the nearest, with subnormal numbers, without traps. Then the thread has
// again what it had.
class DefaultRounding {
 public:
  DefaultRounding() : saved_(read()) {
    if (differs()) write(kDefault);
  }
  ~DefaultRounding() {
    if (differs()) write(saved_);
  }
  DefaultRounding(const DefaultRounding&) = delete;
  DefaultRounding& operator=(const DefaultRounding&) = delete;

 private:
#if defined(__x86_64__)
  using Word = uint32_t;
  static constexpr Word kDefault = 0x1f80, kFlags = 0x3f;  // the flags say what happened, and change nothing
  static Word read() { return _mm_getcsr(); }
  static void write(Word word) { _mm_setcsr(word); }
#elif defined(__aarch64__)
  using Word = uint64_t;
  static constexpr Word kDefault = 0, kFlags = 0;
  static Word read() {
    Word word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void write(Word word) { __asm__ volatile("msr fpcr, %0" : : "r"(word) : "memory"); }
#else
  using Word = int;
  static constexpr Word kDefault = FE_TONEAREST, kFlags = 0;
  static Word read() { return std::fegetround(); }
  static void write(Word word) { std::fesetround(word); }
#endif
  bool differs() const { return (saved_ & ~kFlags) != kDefault; }

  const Word saved_;
};

}  // namespace q3e
