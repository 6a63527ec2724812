// SPDX-License-Identifier: Apache-2.0
// Decoded: an instruction taken apart. Isa: all rows of the instruction set and the tables that find them.
#pragma once
#include <array>
#include <span>
#include <vector>

#include "cpu/decode/row.h"
#include "cpu/insn.h"

namespace droste {

inline constexpr unsigned max_insn_bytes = 15;

struct Decoded {
    const InsnRow* row = nullptr;
    u16 op = 0;               ///< index of the row in Isa
    u8 len = 0;
    std::array<u8, max_insn_bytes> bytes{};
    // prefixes
    bool p66 = false, p67 = false, lock = false;
    Rep rep = Rep::none;      ///< the last of F2, F3
    bool no_track = false;    ///< the last segment prefix is 3EH, also in 64-bit mode
    i8 segment_override = -1; ///< Seg number, -1 none (in 64-bit mode only FS and GS count)
    bool rex = false;
    bool vex = false, evex = false;
    u8 rex_w = 0, rex_r = 0, rex_x = 0, rex_b = 0;  ///< also VEX's, with the sense of REX (1 = extend)
    u8 vex_l = 0, vex_vvvv = 0;                     ///< vvvv already inverted; EVEX: L'L, V'vvvv
    u8 evex_r2 = 0;                                 ///< R', with the sense of REX
    u8 evex_b = 0, evex_z = 0, evex_aaa = 0;
    // ModRM
    bool has_modrm = false;
    u8 modrm = 0, sib = 0;
    bool has_sib = false;
    u8 mod = 0, reg = 0, rm = 0;  ///< extended by REX to 0..15, by EVEX to 0..31 (for +r forms rm = the opcode register)
    i8 base = -1, index = -1;     ///< GPR numbers of the memory operand, -1 none; VSIB: index is a vector number
    bool rip_relative = false;
    u8 scale = 0;
    i32 disp = 0;
    u64 imm = 0;                  ///< as in Insn::imm
    u8 opcode_offset = 0;         ///< position of the opcode byte in bytes (after prefixes and escapes)
    u8 modrm_offset = 0;
    u8 osz = 2;                   ///< log2(operand size in bytes): 1, 2, 3 (0: byte form)
    u8 asz = 1;                   ///< 0 = 16, 1 = 32, 2 = 64 bits
    u8 seg = 3;                   ///< segment of the memory operand
    bool mem() const { return has_modrm && mod != 3; }
    /// EVEX.b is embedded rounding or SAE, so that L'L is no length.
    bool rounds() const { return evex_b && !mem(); }
    /// Of VEX and EVEX; of scalars it means nothing.
    unsigned vector_bytes() const { return rounds() ? 64 : 16u << vex_l; }
};

enum class DecodeStatus : u8 {
    ok,
    truncated,   ///< more bytes are needed than were given (at most 15)
    undefined,   ///< #UD: no row, wrong prefix, mode, or not enumerated by the CPU model
    too_long,    ///< #GP(0): more than 15 bytes
};

class Isa {
public:
    /// @param tables every folder's rows; the spans must outlive the Isa. Two rows that match the same encoding are
    ///        an internal error, found at construction.
    explicit Isa(std::span<const RowSpan> tables);

    const InsnRow& row(u16 op) const { return *rows_[op]; }
    std::size_t size() const { return rows_.size(); }
    /// Decodes the instruction at the start of `code` in `mode` (mode_bits). Features are not judged here but for
    /// traits::hint rows, which processors without the feature decode otherwise (`features` null: all are there); what
    /// depends on CR0, CR4 and XCR0 is tested at run time.
    DecodeStatus decode(std::span<const u8> code, u32 mode, Decoded& out,
                        const FeatureSet* features = nullptr) const;

private:
    struct Candidate {
        u16 op;
    };
    /// Legacy maps 0..3, VEX maps 0..3, EVEX maps 0..7.
    static std::size_t list_of(bool vex, bool evex, unsigned map, unsigned opcode) {
        return (evex ? 2048u : vex ? 1024u : 0u) + map * 256 + opcode;
    }
    std::vector<const InsnRow*> rows_;
    std::array<std::vector<Candidate>, 4096> by_opcode_;
};

/// The features of the row, and those of its vector length, are enumerated.
bool enumerated(const Decoded& d, const FeatureSet& features);

/// The tables of cpu/insns (cpu/insns/tables.cpp).
std::vector<RowSpan> cpu_instruction_tables();

}  // namespace droste
