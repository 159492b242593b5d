// Blocks of threads as fibers of one thread; see emulation.h.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

struct Dim {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};
inline Dim threadIdx, blockIdx, blockDim, gridDim;

namespace regc::emulation {

constexpr unsigned kLanes = 32;
constexpr size_t kSharedBytes = 48 * 1024;  // of a block, without opting in to more

class Machine {
 public:
  static Machine& instance() {
    static Machine machine;
    return machine;
  }
  void seed(unsigned seed) { random_.seed(seed); }
  bool bfloat_tiles = true;  // as from compute capability 8.0 on

  template <class Kernel>
  void run(Dim grid, unsigned threads, const Kernel& kernel) {
    const bool blocks = grid.x != 0 && grid.y - 1 < 65535 && grid.z - 1 < 65535;
    if (!blocks || threads == 0 || threads > 1024 || threads % kLanes != 0)
      throw std::runtime_error("no GPU takes this grid");
    gridDim = grid;
    blockDim = {threads, 1, 1};
    body_ = kernel;
    shared_bytes_ = 0;
    for (Memory& memory : memories_) memory.used = false;
    for (unsigned z = 0; z < grid.z; ++z)
      for (unsigned y = 0; y < grid.y; ++y)
        for (unsigned x = 0; x < grid.x; ++x) run_block({x, y, z}, threads);
  }

  void block_barrier() { wait(State::at_block); }
  void warp_barrier() { wait(State::at_warp); }

  // Every lane's word, by the number of the lane.
  uint32_t exchange(uint32_t word, unsigned from) {
    const unsigned warp = current_ / kLanes;
    words_[current_] = word;
    warp_barrier();
    const uint32_t result = words_[warp * kLanes + from % kLanes];
    warp_barrier();
    return result;
  }
  unsigned lane() const { return current_ % kLanes; }

  size_t add_memory(void* data, size_t size) {
    std::memset(data, kPattern, size);
    memories_.push_back({data, size, false});
    return memories_.size() - 1;
  }
  void use_memory(size_t index) {
    if (memories_[index].used) return;
    memories_[index].used = true;
    shared_bytes_ += memories_[index].size;
    if (shared_bytes_ > kSharedBytes) throw std::runtime_error("more shared memory than a block has");
  }

 private:
  enum class State { ready, at_block, at_warp, done };
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    State state;
  };
  struct Memory {
    void* data;
    size_t size;
    bool used;
  };
  static constexpr size_t kStack = 128 * 1024;
  static constexpr int kPattern = 0xA7;

  void run_block(Dim block, unsigned threads) {
    blockIdx = block;
    for (const Memory& memory : memories_) std::memset(memory.data, kPattern, memory.size);
    if (fibers_.size() < threads) fibers_.resize(threads);
    words_.assign(threads, 0);
    ready_.clear();
    for (unsigned i = 0; i < threads; ++i) start(i);
    for (unsigned done = 0; done < threads;) {
      if (ready_.empty()) release_block(threads);
      const size_t drawn = random_() % ready_.size();
      current_ = ready_[drawn];
      ready_[drawn] = ready_.back();
      ready_.pop_back();
      threadIdx = {current_, 0, 0};
      swapcontext(&scheduler_, &fibers_[current_].context);
      if (!failure_.empty()) throw std::runtime_error(failure_);
      if (fibers_[current_].state == State::done) ++done;
      if (fibers_[current_].state == State::at_warp) release_warp(current_ / kLanes);
    }
  }

  void start(unsigned i) {
    Fiber& fiber = fibers_[i];
    if (!fiber.stack) fiber.stack = std::make_unique<char[]>(kStack);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = &scheduler_;
    fiber.state = State::ready;
    makecontext(&fiber.context, &Machine::enter, 0);
    ready_.push_back(i);
  }

  static void enter() {
    Machine& machine = instance();
    try {
      machine.body_();
    } catch (const std::exception& error) {
      machine.failure_ = error.what();
    }
    machine.fibers_[machine.current_].state = State::done;
  }

  void wait(State state) {
    const unsigned me = current_;
    fibers_[me].state = state;
    swapcontext(&fibers_[me].context, &scheduler_);
  }

  void release(unsigned first, unsigned count) {
    for (unsigned i = first; i < first + count; ++i) {
      fibers_[i].state = State::ready;
      ready_.push_back(i);
    }
  }
  bool all(unsigned first, unsigned count, State state) const {
    for (unsigned i = first; i < first + count; ++i)
      if (fibers_[i].state != state) return false;
    return true;
  }
  void release_warp(unsigned warp) {
    if (all(warp * kLanes, kLanes, State::at_warp)) release(warp * kLanes, kLanes);
  }
  void release_block(unsigned threads) {
    if (!all(0, threads, State::at_block)) throw std::runtime_error("some threads never reach a barrier");
    release(0, threads);
  }

  std::mt19937 random_{1};
  std::function<void()> body_;
  std::vector<Fiber> fibers_;
  std::vector<unsigned> ready_;
  std::vector<uint32_t> words_;
  std::vector<Memory> memories_;
  std::string failure_;
  ucontext_t scheduler_{};
  unsigned current_ = 0;
  size_t shared_bytes_ = 0;
};

template <class T, size_t kCount>
class Shared {
 public:
  Shared() : index_(Machine::instance().add_memory(values_, sizeof(values_))) {}
  T* data() {
    Machine::instance().use_memory(index_);
    return values_;
  }

 private:
  alignas(128) T values_[kCount];
  size_t index_;
};

template <class T>
T exchange(T v, unsigned from) {
  static_assert(sizeof(T) == sizeof(uint32_t));
  uint32_t word;
  std::memcpy(&word, &v, sizeof(word));
  word = Machine::instance().exchange(word, from);
  std::memcpy(&v, &word, sizeof(word));
  return v;
}

}  // namespace regc::emulation
