// A kernel beside the generic one.
#pragma once

#include <thread>

#include "problems.h"

namespace regc::test {

using namespace kernels;

// What a check runs: a kernel and the generic one.
template <class Task>
struct Pair {
  void (*kernel)(const Task&);
  void (*generic)(const Task&);
  void (*round)(const RoundTask&) = nullptr;  // of the kernel's instruction set: null where RF8 meets float32
};

template <class Task>
Pair<Task> with_itself(const Pair<Task>& pair) {
  return {pair.kernel, pair.kernel, nullptr};
}

// Calls run(begin, end) for parts of [0, tiles), each in a thread of its own.
template <class Function>
void in_parts(Random& random, size_t tiles, const Function& run) {
  std::vector<std::thread> threads;
  for (size_t begin = 0; begin < tiles;) {
    const size_t end = std::min(tiles, begin + between(random, 1, 5));
    threads.emplace_back([=, &run] { run(begin, end); });
    begin = end;
  }
  for (std::thread& thread : threads) thread.join();
}

// The kernel in parts and the generic one at once, on a task that `at(tile_begin, tile_end, out)` makes.
template <class Task, class At>
void compare(Random& random, const Pair<Task>& pair, const Size& size, const At& at) {
  constexpr Ending kEndings[] = {Ending::none, Ending::relu,      Ending::gelu,
                                 Ending::silu, Ending::gelu_tanh, Ending::add};
  Exact<float> other(size.rows * size.outputs, random() % 3);
  fill(random, other.data(), other.size(), false);
  const Ending ending = kEndings[random() % 6];
  Guarded<float> y(size.rows * size.outputs);
  Guarded<float> expected(size.rows * size.outputs);
  const float* added = ending == Ending::add ? other.data() : nullptr;
  const auto out = [&](Guarded<float>& to) { return Out{to.data(), added, ending}; };
  in_parts(random, size.tiles(), [&](size_t begin, size_t end) { pair.kernel(at(begin, end, out(y))); });
  pair.generic(at(0, size.tiles(), out(expected)));
  if (!y.intact()) fail("wrote outside of its output");
  if (!same(y.data(), expected.data(), y.size())) fail("differs from the generic kernel");
}

}  // namespace regc::test
