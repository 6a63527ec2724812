// SPDX-License-Identifier: Apache-2.0
// AML encoding.
#include "machine/acpi/aml.h"

#include "base/assert.h"

namespace droste::aml {

namespace {

template <class T> void put(Code& code, T value) {
    for (unsigned i = 0; i < sizeof value; ++i)
        code.push_back(static_cast<u8>(u64(value) >> (8 * i)));
}

void append(Code& code, const Code& more) {
    code.insert(code.end(), more.begin(), more.end());
}

/// PkgLength counts itself: 6 bits in one byte, or 4 bits and up to three further bytes.
Code package_length(std::size_t content) {
    Code code;
    if (content + 1 <= 0x3F) {
        put<u8>(code, static_cast<u8>(content + 1));
        return code;
    }
    for (unsigned more = 1; more <= 3; ++more) {
        const u64 total = content + 1 + more;
        if (total >> (4 + 8 * more) != 0)
            continue;
        put<u8>(code, static_cast<u8>(more << 6 | (total & 0xF)));
        for (unsigned i = 0; i < more; ++i)
            put<u8>(code, static_cast<u8>(total >> (4 + 8 * i)));
        return code;
    }
    ASSERT(!"package longer than 256 MiB");
}

Code name_string(std::string_view name) {
    const std::string_view segment = name.starts_with('\\') ? name.substr(1) : name;
    ASSERT(segment.size() == 4);
    return Code(name.begin(), name.end());
}

Code named_package(std::vector<u8> op, std::string_view name, const std::vector<Code>& terms) {
    Code content = name_string(name);
    append(content, join(terms));
    Code code = std::move(op);
    append(code, package_length(content.size()));
    append(code, content);
    return code;
}

}  // namespace

Code join(const std::vector<Code>& parts) {
    Code code;
    for (const Code& part : parts)
        append(code, part);
    return code;
}

Code integer(u64 value) {
    if (value <= 1)
        return {static_cast<u8>(value)};  // ZeroOp, OneOp
    Code code;
    if (value <= 0xFF) {
        code = {0x0A};
        put<u8>(code, static_cast<u8>(value));
    } else if (value <= 0xFFFF) {
        code = {0x0B};
        put<u16>(code, static_cast<u16>(value));
    } else if (value <= 0xFFFF'FFFF) {
        code = {0x0C};
        put<u32>(code, static_cast<u32>(value));
    } else {
        code = {0x0E};
        put<u64>(code, value);
    }
    return code;
}

Code eisa_id(std::string_view id) {
    ASSERT(id.size() == 7);
    u32 v = 0;
    for (unsigned i = 0; i < 3; ++i)
        v = v << 5 | (static_cast<u32>(id[i]) - 0x40);
    for (unsigned i = 3; i < 7; ++i) {
        const char c = id[i];
        v = v << 4 | static_cast<u32>(c >= 'A' ? c - 'A' + 10 : c - '0');
    }
    Code code = {0x0C};  // the four bytes stand big-endian within the DWord
    for (unsigned i = 0; i < 4; ++i)
        put<u8>(code, static_cast<u8>(v >> (24 - 8 * i)));
    return code;
}

Code text(std::string_view value) {
    Code code;
    put<u8>(code, 0x0D);
    for (const char c : value)
        put<u8>(code, static_cast<u8>(c));
    put<u8>(code, 0);
    return code;
}

Code package(const std::vector<Code>& elements) {
    ASSERT(elements.size() <= 0xFF);
    Code content = {static_cast<u8>(elements.size())};
    append(content, join(elements));
    Code code = {0x12};
    append(code, package_length(content.size()));
    append(code, content);
    return code;
}

Code buffer(const Code& bytes) {
    Code content = integer(bytes.size());
    append(content, bytes);
    Code code = {0x11};
    append(code, package_length(content.size()));
    append(code, content);
    return code;
}

Code name(std::string_view name, const Code& value) {
    Code code = {0x08};
    append(code, name_string(name));
    append(code, value);
    return code;
}

Code scope(std::string_view name, const std::vector<Code>& terms) {
    return named_package({0x10}, name, terms);
}

Code device(std::string_view name, const std::vector<Code>& terms) {
    return named_package({0x5B, 0x82}, name, terms);
}

Resources& Resources::io(u16 first, u8 size) {
    put<u8>(bytes_, 0x47);
    put<u8>(bytes_, 1);  // decodes 16 bits
    put<u16>(bytes_, first);
    put<u16>(bytes_, first);
    put<u8>(bytes_, 1);
    put<u8>(bytes_, size);
    return *this;
}

Resources& Resources::irq(unsigned number) {
    put<u8>(bytes_, 0x22);  // edge-triggered, active high, exclusive
    put<u16>(bytes_, static_cast<u16>(1u << number));
    return *this;
}

Resources& Resources::memory(u32 first, u32 size) {
    put<u8>(bytes_, 0x86);
    put<u16>(bytes_, 9);
    put<u8>(bytes_, 1);  // read and write
    put<u32>(bytes_, first);
    put<u32>(bytes_, size);
    return *this;
}

namespace {
constexpr u8 window_memory = 0, window_io = 1, window_bus = 2;
constexpr u8 both_bounds_fixed = 0x0C;
constexpr u8 io_entire_range = 3, memory_read_write = 1;
}  // namespace

Resources& Resources::word_window(u8 type, u8 type_flags, u16 first, u16 last) {
    put<u8>(bytes_, 0x88);
    put<u16>(bytes_, 13);
    put<u8>(bytes_, type);
    put<u8>(bytes_, both_bounds_fixed);
    put<u8>(bytes_, type_flags);
    for (const u16 v : {u16(0), first, last, u16(0), static_cast<u16>(last - first + 1)})
        put<u16>(bytes_, v);
    return *this;
}

Resources& Resources::buses(u16 first, u16 last) {
    return word_window(window_bus, 0, first, last);
}
Resources& Resources::io_window(u16 first, u16 last) {
    return word_window(window_io, io_entire_range, first, last);
}

Resources& Resources::memory_window(u32 first, u32 last) {
    put<u8>(bytes_, 0x87);
    put<u16>(bytes_, 23);
    put<u8>(bytes_, window_memory);
    put<u8>(bytes_, both_bounds_fixed);
    put<u8>(bytes_, memory_read_write);
    for (const u32 v : {0u, first, last, 0u, last - first + 1})
        put<u32>(bytes_, v);
    return *this;
}

Code Resources::done() const {
    Code all = bytes_;
    put<u8>(all, 0x79);  // end tag; checksum 0 means: not checked
    put<u8>(all, 0);
    return buffer(all);
}

}  // namespace droste::aml
