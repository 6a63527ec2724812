// SPDX-License-Identifier: Apache-2.0
// HostCpu: executes one instruction on the host processor in a sandbox, with all of its user-visible state
// given and taken. The oracle of the fuzz tests.
#pragma once
#include <array>
#include <cstddef>
#include <span>

#include "base/types.h"

namespace droste::test {

/// The XSAVE area in standard format: x87, SSE, AVX, opmask, ZMM_Hi256, Hi16_ZMM.
struct alignas(64) VectorImage {
    u16 fcw{0x37F}, fsw{};
    u8 ftw{}, reserved0{};
    u16 fop{};
    u64 fip{}, fdp{};
    u32 mxcsr{0x1F80}, mxcsr_mask{0xFFFF};
    std::array<std::array<u8, 16>, 8> st{};
    std::array<std::array<u64, 2>, 16> xmm{};
    std::array<u8, 96> rest{};
    u64 xstate_bv{7}, xcomp_bv{};
    std::array<u64, 6> header_rest{};
    std::array<std::array<u64, 2>, 16> ymm_high{};
    std::array<u8, 1088 - 832> between{};
    std::array<u64, 8> opmask{};
    std::array<std::array<u64, 4>, 16> zmm_high{};
    std::array<std::array<u64, 8>, 16> zmm16{};  ///< ZMM16..31

    /// Quadword k of vector register n.
    u64& quad(unsigned n, unsigned k) {
        return n >= 16 ? zmm16[n - 16][k] : k < 2 ? xmm[n][k] : k < 4 ? ymm_high[n][k - 2] : zmm_high[n][k - 4];
    }
};
static_assert(offsetof(VectorImage, opmask) == 1088 && offsetof(VectorImage, zmm16) == 1664 &&
              sizeof(VectorImage) == 2688);

/// The part of the XSAVE area that follows, with AMX: TILECFG and TILEDATA.
struct alignas(64) TileImage {
    std::array<u8, 64> config{};
    std::array<std::array<u8, 1024>, 8> tile{};
    friend bool operator==(const TileImage&, const TileImage&) = default;
};

/// What an instruction starts from and leaves.
struct UserState {
    std::array<u64, 16> gpr{};
    u64 rip{};
    u64 rflags{2};
    VectorImage vector;
};

/// How it ended: no event, or the exception's vector, error code and address.
struct HostEvent {
    int vector = -1;
    u32 error_code = 0;
    u64 address = 0;  ///< of a page fault
    friend bool operator==(const HostEvent&, const HostEvent&) = default;
};

enum class CodeSize : u8 { bits16, bits32, bits64 };

class HostCpu {
public:
    // Fixed low addresses, which code of all sizes reaches. The pages around the data are not mapped.
    static constexpr u64 data = 0x40000000;
    static constexpr u64 data_size = 0x2000;
    static constexpr u64 code = 0x40100000;
    static constexpr u64 code_size = 0x1000;
    static constexpr u64 insn = code + 0x800;  ///< where the instruction is put; INT3 all around
    // 16-bit code: CS starts at `code`, the data segments at `data`.
    static constexpr u32 limit16_code = 0xFFFF, limit16_data = 0x1FFF;

    /// Maps the sandbox and installs the signal handlers; one at a time.
    HostCpu();
    ~HostCpu();
    HostCpu(const HostCpu&) = delete;
    HostCpu& operator=(const HostCpu&) = delete;

    /// The host allows code of that size (16-bit code needs modify_ldt).
    bool has(CodeSize size) const { return available_[static_cast<unsigned>(size)]; }
    u8* memory() { return reinterpret_cast<u8*>(data); }
    u64 fs_base() const { return fs_base_; }
    u64 gs_base() const { return gs_base_; }
    /// The state components that the host takes part with: 7, or E7H with AVX-512.
    u64 components() const { return components_; }
    /// The host has AMX and lets this process use it.
    bool has_tiles() const { return has_tiles_; }

    /// Executes `bytes` at `insn` (16-bit: offset insn - code). `rip` of the result is the address of the
    /// next instruction; after an exception, the saved one. `with_vector`: state.vector is loaded and saved
    /// too, and with `tiles` those. `branch`: nothing but INT3 follows the instruction, for it may go anywhere in the page.
    HostEvent execute(std::span<const u8> bytes, CodeSize size, bool with_vector, bool branch,
                      UserState& state, TileImage* tiles = nullptr);

private:
    u8* code_alias_ = nullptr;
    std::array<bool, 3> available_{};
    u64 fs_base_ = 0, gs_base_ = 0;
    u64 components_ = 7;
    bool has_tiles_ = false;
};

}  // namespace droste::test
