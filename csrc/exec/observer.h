// Who wants to see what the matrices multiply: the statistics of calibration. An engine has none unless asked.
#pragma once

#include <cstdint>
#include <exception>

namespace q3e {

struct Observation {
  const char* tensor;  // the last part of the matrix's name without ".weight", of several that share an input the first
  int32_t layer;       // -1: the head
  int32_t expert;      // -1: not one of several
  uint32_t tokens, columns;
  const float* values;  // [tokens][columns], as the matrix gets them: after rounding, where it rounds
};

struct Activations;

class Observer {
 public:
  virtual ~Observer() = default;
  // Called by one thread of the engine while the others wait. Must not throw, nor call the engine.
  virtual void see(const Observation& observation) = 0;
  // Called likewise, in place of `see`, when there is no memory for what it would show.
  virtual void fail(std::exception_ptr error) = 0;
};

// Shows what a matrix reads, as floats.
void show_activations(Observer& observer, const char* tensor, int32_t layer, int32_t expert, const Activations& a);

}  // namespace q3e
