// SPDX-License-Identifier: Apache-2.0
// The three archives: save to bytes, load from bytes, hash.
#include "base/archive.h"

#include <cstring>

namespace droste {

namespace {
u64 mix(u64 h) {
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93ull;
    h ^= h >> 32;
    return h;
}
}  // namespace

u64 hash_bytes(u64 seed, const void* data, std::size_t size) {
    const auto* p = static_cast<const u8*>(data);
    u64 h = mix(seed ^ (size * 0x9E3779B97F4A7C15ull));
    std::size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        u64 w;
        std::memcpy(&w, p + i, 8);
        h = (h ^ w) * 0x9E3779B97F4A7C15ull;
        h ^= h >> 29;
    }
    u64 tail = 0;
    if (i < size) std::memcpy(&tail, p + i, size - i);
    return mix(h ^ tail);
}

void SaveArchive::section(std::string_view name, u32 version) {
    u32 length = static_cast<u32>(name.size());
    bytes("section", &length, sizeof length);
    data.insert(data.end(), name.begin(), name.end());
    bytes("version", &version, sizeof version);
}

void SaveArchive::bytes(std::string_view, void* from, std::size_t size) {
    const auto* p = static_cast<const u8*>(from);
    data.insert(data.end(), p, p + size);
}

void LoadArchive::section(std::string_view name, u32 version) {
    u32 length = 0;
    bytes("section", &length, sizeof length);
    if (!good()) return;
    if (length != name.size() || at_ + length > data_.size() ||
        std::memcmp(data_.data() + at_, name.data(), length) != 0) {
        problem_ = "section '" + std::string(name) + "' expected at offset " + std::to_string(at_);
        return;
    }
    at_ += length;
    u32 have = 0;
    bytes("version", &have, sizeof have);
    if (good() && have > version)
        problem_ = "section '" + std::string(name) + "' has version " + std::to_string(have) +
                   ", newer than this program's " + std::to_string(version);
}

void LoadArchive::bytes(std::string_view name, void* to, std::size_t size) {
    if (!good() || size > data_.size() - at_) {
        if (good()) problem_ = "the data ends within field '" + std::string(name) + "'";
        std::memset(to, 0, size);
        return;
    }
    std::memcpy(to, data_.data() + at_, size);
    at_ += size;
}

void HashArchive::section(std::string_view name, u32 version) {
    state_ = hash_bytes(state_ ^ version, name.data(), name.size());
}
void HashArchive::bytes(std::string_view, void* data, std::size_t size) { state_ = hash_bytes(state_, data, size); }
u64 HashArchive::value() const { return mix(state_); }

}  // namespace droste
