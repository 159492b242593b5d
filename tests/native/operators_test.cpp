// The operators that multiply, in a stand-in for ONNX Runtime that a sanitizer sees through.
//
//     operators_test [CASES [SEED]]
//
// What is checked of each, in every type of activations: two nodes with a weight each, one of them constant, run by
// several threads at a time, each with threads of its own, give what a node run alone in one thread gives; and operands
// changed at random still are a weight, or end in an error that names the node.
#include <cstdio>
#include <cstdlib>
#include <iterator>

#include "operands.h"

namespace {

using namespace regc::test;
namespace abi = regc::abi;

OrtValue activations(Random& random, int type, std::vector<int64_t> shape) {
  OrtValue x = tensor(type, std::move(shape));
  const size_t count = x.bytes.size() / bytes_of(type);
  std::vector<float> values(count);
  fill(random, values.data(), count, random() % 4 == 0);
  for (size_t i = 0; i < count; ++i) {  // of two bytes, the upper ones of a float
    const auto* from = reinterpret_cast<const uint8_t*>(&values[i]) + sizeof(float) - bytes_of(type);
    std::memcpy(x.bytes.data() + i * bytes_of(type), from, bytes_of(type));
  }
  return x;
}

struct Problem {
  Problem(Random& random, const abi::CustomOp* op, int64_t outputs, int64_t inputs, int64_t rows) {
    const std::string name = op->GetName(op);
    all.push_back(activations(random, op->GetInputType(op, 0), {rows, inputs}));
    for (OrtValue& value : Operands(random, name, outputs, inputs).inputs) all.push_back(std::move(value));
    if (op->GetInputTypeCount(op) > all.size())
      all.push_back(activations(random, op->GetInputType(op, 0), {random() % 2 == 0 ? rows : 1, outputs}));
  }
  std::vector<OrtValue> all;
};

void check_threads(Random& random, const abi::CustomOp* op) {
  const bool large = random() % 4 == 0;  // cut into several tasks
  const auto outputs = static_cast<int64_t>(large ? 400 : between(random, 1, 60));
  const auto inputs = static_cast<int64_t>(large ? 450 : between(random, 1, 90));
  const auto rows = static_cast<int64_t>(random() % 2 == 0 ? between(random, 0, 8) : between(random, 9, 40));
  const Problem problems[2] = {{random, op, outputs, inputs, rows}, {random, op, outputs, inputs, rows}};
  const Node constant(op, problems[0].all, true);
  const Node variable(op, problems[1].all, false);
  if (!constant.error.empty() || !variable.error.empty()) fail((constant.error + variable.error).c_str());
  const Node* const nodes[2] = {&constant, &variable};
  std::string text[4];
  const OrtValue expected[2] = {constant.run(problems[0].all, 1, text[0]), variable.run(problems[1].all, 1, text[1])};
  if (!text[0].empty() || !text[1].empty()) fail((text[0] + text[1]).c_str());
  OrtValue found[4];
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; ++i)
    threads.emplace_back([&, i] { found[i] = nodes[i % 2]->run(problems[i % 2].all, 1 + i / 2 * 2, text[i]); });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < 4; ++i)
    if (!text[i].empty() || found[i].shape != expected[i % 2].shape || found[i].bytes != expected[i % 2].bytes)
      fail("depends on who else runs");
}

void check_changed(Random& random, const abi::CustomOp* op) {
  Problem problem(random, op, 20, 40, static_cast<int64_t>(between(random, 0, 12)));
  for (size_t i = 0; i < 1 + random() % 2; ++i) change(random, problem.all[1 + random() % (problem.all.size() - 1)]);
  const Node node(op, problem.all, random() % 2 == 0);
  std::string text = node.error;
  if (text.empty()) node.run(problem.all, 1, text);
  const std::string prefix = "ai.regc::" + std::string(op->GetName(op)) + " node 'layer/7': ";
  if (!text.empty() && text.rfind(prefix, 0) != 0) fail(("an error that names no node: " + text).c_str());
}

bool multiplies(const abi::CustomOp* op) { return std::strstr(op->GetName(op), "MatMul") != nullptr; }

}  // namespace

int main(int count, char** arguments) {
  const int cases = count > 1 ? std::atoi(arguments[1]) : 3;
  const unsigned seed = count > 2 ? static_cast<unsigned>(std::atoi(arguments[2])) : 1;
  int failed = 0;
  int checked = 0;
  for (const abi::CustomOp* op : operators()) {
    if (!multiplies(op)) continue;
    ++checked;
    for (int i = 0; i < cases; ++i) {
      Random random(seed + static_cast<unsigned>(i));
      try {
        check_threads(random, op);
        for (int change = 0; change < 10; ++change) check_changed(random, op);
      } catch (const std::exception& error) {
        std::printf("%s: %s (seed %u)\n", op->GetName(op), error.what(), seed + static_cast<unsigned>(i));
        ++failed;
        break;
      }
    }
  }
  std::printf("%d cases of each of %d operators, %d failed\n", cases, checked, failed);
  return failed == 0 ? 0 : 1;
}
