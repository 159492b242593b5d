// Random operands of the operators that multiply, by the layouts of runtime_ops/formats.
#pragma once

#include "memory.h"
#include "runtime.h"

namespace regc::test {

constexpr int64_t kSizes[] = {0, 1, -1, 2, 15, 16, 17, 40, 41, int64_t{1} << 31, int64_t{1} << 62, INT64_MIN};

// A weight of N outputs and K inputs.
class Operands {
 public:
  Operands(Random& random, const std::string& name, int64_t n, int64_t k)
      : random_(random), n_(n), k_(k), tiles_((n + 15) / 16), coded_(name.find("RF8") != std::string::npos) {
    if (name.rfind("Ternary", 0) == 0) {
      ternary(name.rfind("Ternary5", 0) == 0 ? 20 : 16);
    } else if (name.rfind("BlockSparse", 0) == 0) {
      sparse();
    } else if (name.rfind("Gated", 0) == 0) {
      gated(name.find("TopK") != std::string::npos);
    } else {
      bytes({tiles_, (k + 3) / 4, 4, 2, 4, 2});
      end({n, k});
    }
  }
  std::vector<OrtValue> inputs;  // after x

 private:
  void add(OrtValue value) { inputs.push_back(std::move(value)); }
  void bytes(std::vector<int64_t> shape) {
    add(tensor(abi::kUInt8, std::move(shape)));
    fill(random_, inputs.back().bytes.data(), inputs.back().bytes.size());
  }
  void floats(std::vector<int64_t> shape) {
    OrtValue value = tensor(abi::kFloat, std::move(shape));
    std::vector<float> values(value.bytes.size() / sizeof(float));
    fill(random_, values.data(), values.size(), false);
    std::memcpy(value.bytes.data(), values.data(), value.bytes.size());
    add(std::move(value));
  }
  template <class T>
  void whole(int type, const std::vector<T>& values) {
    OrtValue value = tensor(type, {static_cast<int64_t>(values.size())});
    std::memcpy(value.bytes.data(), values.data(), value.bytes.size());
    add(std::move(value));
  }
  void end(const std::vector<int64_t>& shape) {
    floats({n_});
    floats({random_() % 2 == 0 ? 1 : n_});
    whole(abi::kInt64, shape);
  }
  void ternary(int64_t block) {
    const int64_t group = random_() % 2 == 0 ? k_ : std::min(k_, 2 * block);
    bytes({tiles_, (k_ + block - 1) / block, 16, 4});
    for (uint8_t& code : inputs.back().bytes)
      if (block == 16) code = static_cast<uint8_t>(code & ~((code & 0x55U) << 1 & code));
    bytes({tiles_, (k_ + group - 1) / group, 16});
    for (uint8_t& multiplier : inputs.back().bytes) multiplier %= 65;
    end({n_, k_, group});
  }
  void values(std::vector<int64_t> shape) {
    if (coded_) return bytes(std::move(shape));
    floats(std::move(shape));
  }
  void sparse() {
    const int64_t block = int64_t{1} << random_() % 3;
    std::vector<int32_t> index;
    std::vector<int32_t> start{0};
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      for (int32_t column = 0; column < k_ / block; ++column)  // the last block, if it is short, would need zeros
        if (random_() % 2 == 0) index.push_back(column);
      start.push_back(static_cast<int32_t>(index.size()));
    }
    values({start.back(), block, 16});
    whole(abi::kInt32, index);
    whole(abi::kInt32, start);
    end({n_, k_, block});
  }
  void gated(bool counted) {
    values({k_, 16 * tiles_});
    floats({k_});
    if (counted) whole<int64_t>(abi::kInt64, {static_cast<int64_t>(between(random_, 1, static_cast<size_t>(k_)))});
    else whole<float>(abi::kFloat, {0.7F});
    end({n_, k_});
  }

  Random& random_;
  const int64_t n_, k_, tiles_;
  const bool coded_;
};

// Another shape of a tensor, or another value among those that count and point.
inline void change(Random& random, OrtValue& value) {
  if (value.type == abi::kFloat || random() % 2 == 0 || value.bytes.empty()) {
    std::vector<int64_t> shape = value.shape;
    if (random() % 4 == 0 || shape.empty()) shape.assign(random() % 5, static_cast<int64_t>(random() % 6));
    else shape[random() % shape.size()] += random() % 2 == 0 ? 1 : -1;
    for (int64_t& size : shape) size = std::max<int64_t>(size, 0);
    OrtValue other = tensor(value.type, shape);
    std::copy_n(value.bytes.begin(), std::min(value.bytes.size(), other.bytes.size()), other.bytes.begin());
    value = std::move(other);
    return;
  }
  const size_t size = bytes_of(value.type);
  const int64_t wanted = random() % 2 == 0 ? kSizes[random() % std::size(kSizes)] : static_cast<int64_t>(random());
  std::memcpy(value.bytes.data() + random() % (value.bytes.size() / size) * size, &wanted, size);
}

}  // namespace regc::test
