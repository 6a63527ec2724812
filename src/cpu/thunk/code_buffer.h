// SPDX-License-Identifier: Apache-2.0
// CodeBuffer: memory for generated code, mapped twice (writable and executable), filled from the front.
#pragma once
#include <cstddef>
#include <span>

#include "base/result.h"
#include "base/types.h"

namespace droste {

/// W^X without mprotect: the same pages are writable at one address and executable at another.
class CodeBuffer {
public:
    /// Reserves `size` bytes; pages are taken from the host when they are first written.
    static Result<CodeBuffer> make(std::size_t size);
    CodeBuffer(CodeBuffer&& other) noexcept;
    CodeBuffer& operator=(CodeBuffer&&) = delete;
    ~CodeBuffer();

    /// Copies `code` behind what is there and gives its executable address (16-byte aligned).
    const void* place(std::span<const u8> code);
    std::size_t used() const { return used_; }
    std::size_t size() const { return size_; }
    /// What was placed is no longer executed.
    void clear() { used_ = 0; }
    /// The two addresses of the memory, for users that fill it themselves.
    u8* writable() const { return writable_; }
    const u8* executable() const { return executable_; }

private:
    CodeBuffer(u8* writable, u8* executable, std::size_t size)
        : writable_(writable), executable_(executable), size_(size) {}
    u8* writable_;
    u8* executable_;
    std::size_t size_;
    std::size_t used_ = 0;
};

}  // namespace droste
