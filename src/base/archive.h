// SPDX-License-Identifier: Apache-2.0
// Archive: one visit function of a part serves saving, loading and hashing its state.
#pragma once
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/types.h"

namespace droste {

/// Visits the guest-visible state of a part. Host handles and derived state (TLBs, decoded blocks) are not visited.
class Archive {
public:
    enum class Mode : u8 { save, load, hash };
    virtual ~Archive() = default;
    virtual Mode mode() const = 0;
    /// Starts a named, versioned section; a loader refuses another name or a newer version.
    virtual void section(std::string_view name, u32 version) = 0;
    /// Raw bytes of one field; `name` is for diagnostics.
    virtual void bytes(std::string_view name, void* data, std::size_t size) = 0;
    /// False after a load met a wrong section or ran out of data; the rest of the load is zeros.
    virtual bool good() const { return true; }

    template <class T> void field(std::string_view name, T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        if constexpr (std::is_same_v<T, bool>) {  // any nonzero byte of a damaged file must stay a valid bool
            u8 b = value;
            bytes(name, &b, 1);
            value = b != 0;
        } else {
            bytes(name, &value, sizeof value);
        }
    }
    /// A vector of plain values, with its length; `max` bounds what a damaged file can make us allocate.
    template <class T> void list(std::string_view name, std::vector<T>& values, u64 max = 1u << 20) {
        static_assert(std::is_trivially_copyable_v<T>);
        u64 n = values.size();
        field(name, n);
        if (mode() == Mode::load) values.assign(n > max || !good() ? 0 : static_cast<std::size_t>(n), T{});
        if (!values.empty()) bytes(name, values.data(), values.size() * sizeof(T));
    }
};

/// Collects the state as bytes.
class SaveArchive final : public Archive {
public:
    Mode mode() const override { return Mode::save; }
    void section(std::string_view name, u32 version) override;
    void bytes(std::string_view name, void* data, std::size_t size) override;
    std::vector<u8> data;
};

/// Reads back what SaveArchive collected; any mismatch makes good() false with a reason.
class LoadArchive final : public Archive {
public:
    explicit LoadArchive(std::vector<u8> bytes) : data_(std::move(bytes)) {}
    Mode mode() const override { return Mode::load; }
    void section(std::string_view name, u32 version) override;
    void bytes(std::string_view name, void* data, std::size_t size) override;
    bool good() const override { return problem_.empty(); }
    const std::string& problem() const { return problem_; }
    bool at_end() const { return at_ == data_.size(); }

private:
    std::vector<u8> data_;
    std::size_t at_ = 0;
    std::string problem_;
};

/// A 64-bit hash of the state, the same on every host and run.
class HashArchive final : public Archive {
public:
    Mode mode() const override { return Mode::hash; }
    void section(std::string_view name, u32 version) override;
    void bytes(std::string_view name, void* data, std::size_t size) override;
    u64 value() const;

private:
    u64 state_ = 0x9E3779B97F4A7C15ull;
};

/// Mixes a block of memory into a hash; the building block of HashArchive and of the memory hash.
u64 hash_bytes(u64 seed, const void* data, std::size_t size);

}  // namespace droste
