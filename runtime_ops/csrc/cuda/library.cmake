# libregc_ops_cuda: the operators of the CPU and, in the same domain, those of the CUDA provider. Not built unless asked
# for: the kernels take a minute of a core, which every install from source would wait for where nvcc is at hand.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90)  # and PTX of the last for those to come
endif()
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

add_library(regc_cuda_kernels OBJECT cuda/kernels.cu)
# As on the CPU: a contracted multiply-add would round once where the operators are defined to round twice.
target_compile_options(regc_cuda_kernels PRIVATE -O3 --fmad=false)
regc_library(regc_ops_cuda cuda/gather.cpp cuda/matmul.cpp cuda/operators.cpp cuda/provider.cpp
  cuda/runtime.cpp)
target_link_libraries(regc_ops_cuda PRIVATE regc_cuda_kernels CUDA::cudart_static)
