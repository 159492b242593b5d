# libregc_ops_cuda: the operators of the CPU and, in the same domain, those of the CUDA provider. Built where a toolkit
# works; where not, a text in its place says why. nvcc is called as a command: as a language, which CMake tries in
# its own way, a toolkit that it has trouble with would end the build of the CPU's library, too.

# nvcc makes PTX for two architectures, from which ptxas makes the code of five: the same, but for its name, as from
# PTX for each, which took 94 s of processor time where this took 59. Newer GPUs take the PTX itself.
set(REGC_CUDA_CODE "-gencode;arch=compute_75,code=sm_75;-gencode;arch=compute_80,code=[sm_80,sm_86,sm_89,sm_90,compute_80]"
  CACHE STRING "options of nvcc for the GPUs to build for")
# As on the CPU: a contracted multiply-add would round once where the operators are defined to round twice.
set(REGC_NVCC_OPTIONS -std=c++17 -O3 --fmad=false --threads 0 ${REGC_CUDA_CODE} -Xcompiler=-fPIC,-fvisibility=hidden
  -Xfatbin=-compress-all -I${CMAKE_CURRENT_SOURCE_DIR})

# Sets `reason` to what keeps the library from being built; to nothing where it can be.
function(regc_try_cuda reason)
  set(${reason} "" PARENT_SCOPE)
  if(NOT CUDAToolkit_FOUND)
    set(place "nvcc in PATH, CUDACXX, CUDA_PATH, CUDAToolkit_ROOT or /usr/local/cuda, and headers and libraries beside it")
    set(${reason} "no CUDA toolkit was found (${place})" PARENT_SCOPE)
  elseif(CUDAToolkit_VERSION VERSION_LESS 12)
    set(${reason} "${CUDAToolkit_NVCC_EXECUTABLE} is of CUDA ${CUDAToolkit_VERSION}, 12 or newer is needed" PARENT_SCOPE)
  elseif(NOT TARGET CUDA::cudart_static)
    set(${reason} "the CUDA toolkit at ${CUDAToolkit_BIN_DIR} has no libcudart_static" PARENT_SCOPE)
  else()
    set(command ${CUDAToolkit_NVCC_EXECUTABLE} ${REGC_NVCC_OPTIONS} -shared ${CMAKE_CURRENT_SOURCE_DIR}/cuda/probe.cu
      -o ${CMAKE_CURRENT_BINARY_DIR}/probe.so)
    execute_process(COMMAND ${command} RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
    if(NOT failed EQUAL 0)
      list(JOIN command " " text)
      message(STATUS "${text}\n${said}")
      string(REGEX MATCH "[^\n]*(error|fatal)[^\n]*" line "${said}\nit ends with error ${failed}")
      set(${reason} "${CUDAToolkit_NVCC_EXECUTABLE} does not work with what is here: ${line}" PARENT_SCOPE)
    endif()
  endif()
endfunction()

function(regc_add_cuda)
  file(GLOB headers CONFIGURE_DEPENDS cuda/*.h kernels/*.h)
  set(kernels ${CMAKE_CURRENT_BINARY_DIR}/cuda_kernels.o)
  add_custom_command(OUTPUT ${kernels} DEPENDS cuda/kernels.cu ${headers} VERBATIM COMMENT "Building CUDA kernels"
    COMMAND ${CUDAToolkit_NVCC_EXECUTABLE} ${REGC_NVCC_OPTIONS} -c ${CMAKE_CURRENT_SOURCE_DIR}/cuda/kernels.cu -o ${kernels})
  regc_library(regc_ops_cuda cuda/gather.cpp cuda/matmul.cpp cuda/operators.cpp cuda/provider.cpp
    cuda/runtime.cpp ${kernels})
  target_link_libraries(regc_ops_cuda PRIVATE CUDA::cudart_static)
endfunction()

if(REGC_CUDA STREQUAL "AUTO" OR REGC_CUDA)
  foreach(found CUDAToolkit_NVCC_EXECUTABLE CUDAToolkit_BIN_DIR CUDAToolkit_SENTINEL_FILE CUDA_CUDART
      CUDA_cudart_static_LIBRARY)
    unset(${found} CACHE)  # by an earlier run of CMake: it may be gone
  endforeach()
  if(DEFINED ENV{CUDACXX})
    set(CUDAToolkit_NVCC_EXECUTABLE $ENV{CUDACXX})
  endif()
  find_package(CUDAToolkit QUIET)
  regc_try_cuda(why_not)
else()
  set(why_not "REGC_CUDA=OFF")
endif()
if(NOT why_not)
  message(STATUS "The operators of the CUDA provider are built, too, by ${CUDAToolkit_NVCC_EXECUTABLE}")
  regc_add_cuda()
elseif(REGC_CUDA AND NOT REGC_CUDA STREQUAL "AUTO")
  message(FATAL_ERROR "libregc_ops_cuda cannot be built: ${why_not}")
else()
  message(STATUS "Without libregc_ops_cuda: ${why_not}")
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/libregc_ops_cuda.txt "${why_not}\n")
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/libregc_ops_cuda.txt DESTINATION regc/runtime_ops/lib)
endif()
