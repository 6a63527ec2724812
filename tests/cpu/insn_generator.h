// SPDX-License-Identifier: Apache-2.0
// InsnGenerator: random instances of a row of the instruction table, with registers that make them
// meaningful.
#pragma once
#include <array>
#include <memory>

#include "cpu/decode/decoder.h"
#include "host_cpu.h"
#include "random.h"

namespace droste::test {

/// One instruction and what it starts from.
struct FuzzCase {
    std::array<u8, max_insn_bytes> bytes{};
    u8 len = 0;
    Decoded decoded;
    UserState state;
    u64 operand = 0;                    ///< address in the sandbox around which `memory` is put
    static constexpr unsigned before_operand = 64;
    std::array<u8, 256> memory{};
    bool vector = false;                ///< x87, SSE and AVX state takes part
    std::shared_ptr<TileImage> tiles;   ///< AMX state takes part
    bool branch = false;
};

/// What the host gives and the generator has to know.
struct SandboxBases {
    u64 fs = 0, gs = 0;
};

class InsnGenerator {
public:
    InsnGenerator(const Isa& isa, CodeSize size, SandboxBases bases)
        : isa_(isa), size_(size), bases_(bases) {}
    /// False when the random choices gave another instruction; try again.
    bool make(const InsnRow& row, Random& random, FuzzCase& out) const;
    u32 mode() const;

private:
    struct Builder;  // bytes as they are put together
    void fill_registers(const InsnRow& row, Random& random, FuzzCase& out) const;
    void fill_memory(const InsnRow& row, Random& random, FuzzCase& out) const;
    void fill_tiles(const InsnRow& row, Random& random, FuzzCase& out) const;
    void put_evex(const InsnRow& row, Random& random, bool mem, Builder& b) const;
    bool encode(const InsnRow& row, Random& random, FuzzCase& out) const;
    bool aim(const InsnRow& row, Random& random, FuzzCase& out) const;
    void aim_implicit(const InsnRow& row, Random& random, FuzzCase& out) const;
    void aim_vsib(Random& random, FuzzCase& out) const;
    bool aim_branch(const InsnRow& row, Random& random, FuzzCase& out) const;
    void make_comparisons_equal(const InsnRow& row, FuzzCase& out) const;
    bool decode(FuzzCase& out) const;
    u64 segment_base(const Decoded& d) const;
    u64 offset_in_segment(u64 address, const Decoded& d) const { return address - segment_base(d); }
    u64 pick_address(const InsnRow& row, Random& random) const;

    const Isa& isa_;
    CodeSize size_;
    SandboxBases bases_;
};

}  // namespace droste::test
