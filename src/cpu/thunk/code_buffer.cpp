// SPDX-License-Identifier: Apache-2.0
// CodeBuffer on Linux: a memfd with two shared mappings.
#include "cpu/thunk/code_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/assert.h"

namespace droste {

Result<CodeBuffer> CodeBuffer::make(std::size_t size) {
    const auto failed = [](const char* call) {
        return Error{std::string("the host refused executable memory (") + call + ": " +
                     std::strerror(errno) + "); allow memfd mappings with PROT_EXEC for this process"};
    };
    const int fd = memfd_create("droste-code", MFD_CLOEXEC);
    if (fd < 0) return failed("memfd_create");
    if (ftruncate(fd, static_cast<off_t>(size)) != 0) {
        const Error error = failed("ftruncate");
        close(fd);
        return error;
    }
    void* const writable = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void* const executable =
        writable == MAP_FAILED ? MAP_FAILED : mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    if (executable == MAP_FAILED) {
        const Error error = failed("mmap");
        if (writable != MAP_FAILED) munmap(writable, size);
        close(fd);
        return error;
    }
    close(fd);
    return CodeBuffer(static_cast<u8*>(writable), static_cast<u8*>(executable), size);
}

CodeBuffer::CodeBuffer(CodeBuffer&& other) noexcept
    : writable_(std::exchange(other.writable_, nullptr)),
      executable_(std::exchange(other.executable_, nullptr)), size_(other.size_), used_(other.used_) {}

CodeBuffer::~CodeBuffer() {
    if (!writable_) return;
    munmap(writable_, size_);
    munmap(executable_, size_);
}

const void* CodeBuffer::place(std::span<const u8> code) {
    ASSERT(used_ + code.size() <= size_);
    std::memcpy(writable_ + used_, code.data(), code.size());
    const void* const at = executable_ + used_;
    used_ = (used_ + code.size() + 15) & ~std::size_t{15};
    return at;
}

}  // namespace droste
