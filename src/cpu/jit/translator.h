// SPDX-License-Identifier: Apache-2.0
// Translator: one block of guest instructions to host code.
#pragma once
#include <vector>

#include "cpu/decode/decoder.h"
#include "cpu/jit/jit.h"

namespace droste::jit {

/// How an instruction is translated.
enum class Form : u8 {
    body,      ///< call its interpreter body
    reencode,  ///< the same opcode with other registers and addresses
    lea,
    load_immediate,
    nop,
    push,
    push_immediate,
    pop,
    vector,    ///< the same opcode; its vector and opmask registers are loaded and stored around it
    // ends of blocks
    jcc,
    jump,
    call,
    ret,
    jump_indirect,
    call_indirect,
};

/// A locked access: LOCK, or XCHG with memory.
bool atomic(const Decoded& d);
/// The form of a decoded instruction in `mode`.
Form form_of(const Decoded& d, u32 mode, bool lock_is_free);

/// A vector instruction that can be Form::vector.
bool plain_vector(const Decoded& d, const Insn& in);

/// Places in Jit::masks_.
inline constexpr u8 data_mask = 0, target_mask = 8, sign_mask = 16, low4_mask = 24, low5_mask = 32, low6_mask = 40,
                    em_ts_mask = 48, ts_mask = 56, osfxsr_mask = 64, osxsave_mask = 72, avx_mask = 80, avx512_mask = 88;

/// Rules of translated code:
/// - Guest arithmetic flags are the host's between instructions; everything else emitted leaves them alone.
/// - Until an instruction cannot fail any more it has changed nothing, so that its body can be called instead.
class Translator {
public:
    Translator(Jit& jit, Block& block, Translated& out);
    /// False: not worth it, or no room.
    bool run();

private:
    struct Cold {
        Label miss;
        u32 k = 0, last = 0;   ///< instructions to execute by their bodies
        u8* resume = nullptr;  ///< null: the instruction ends the block
    };
    bool decode();
    void instruction(u32 k);
    void entry_check();
    u32 place_of_check() const;
    void call_body(Assembler& a, u32 k, bool missed);
    void count_block(Assembler& a, int sign);
    Cold& cold(u32 k);
    void emit_cold();

    bool reencode(u32 k, const Decoded& d);
    void lea(u32 k, const Decoded& d);
    void load_immediate(const Decoded& d);
    /// What an instruction means to a group that shares a probe.
    struct Sharing {
        bool member = false;   ///< a plain access to [base + disp]
        bool between = false;  ///< touches no memory and none of the registers that hold the probe's result
        bool written = false;
        unsigned size = 0, base = 0;
        u32 writes = 0;        ///< guest registers
    };
    Sharing sharing(u32 k) const;
    void share_probe(u32 k);
    /// Pushes or pops in a row, perhaps with a RET at the end of pops: how many from `k` on share one probe.
    u32 stack_run(u32 k) const;
    void pushes(u32 k, u32 count);
    void pops(u32 k, u32 count);
    void end(u32 k, const Decoded& d);
    void vector(u32 k, const Decoded& d);
    void check_available(Domain domain, Label& miss);
    void move_vector(bool store, bool mask, unsigned host, unsigned guest, const Decoded& d);

    /// Effective address as a host operand; may load r10 and r11.
    Mem effective(const Decoded& d, u32 offset, bool segment);
    /// The register with the linear address: r10, or the base itself.
    Reg linear(const Decoded& d, u32 offset);
    /// Probes [at, at + size): then the host address is at + r11. Uses rcx and r13.
    void probe(Reg at, unsigned size, bool write, Label& miss);
    Reg read_guest(unsigned guest, Reg scratch);
    void write_guest(unsigned guest, Reg from);
    /// Looks for the block at linear address r10: then r13 is the entry in CodeTargets. Uses rcx and r11.
    void look_up(Label& miss);
    /// r10, r13: as look_up() leaves them.
    void jump_to_entry();
    /// Goes to `target`, an offset from the start of the page; `k`: the branch to redo on a miss, or none.
    void go(i64 target, i64 k);
    void page_plus(Assembler& a, Reg r, i64 offset);

    bool code64() const { return (mode_ & mode_bits::code_mask) == mode_bits::code64; }

    Jit& jit_;
    Block& block_;
    Translated& out_;
    const Layout& layout_;
    const u32 mode_;
    const u32 page_offset_;
    Assembler a_;
    Assembler cold_code_;
    std::vector<Decoded> decoded_;
    std::vector<Form> forms_;
    std::vector<Cold> cold_;
    struct SiteStub { u8* field; u16 target; };
    std::vector<SiteStub> direct_;
    struct { u32 first = 1, last = 0; i32 disp = 0; std::size_t cold = 0; } shared_;  ///< none: last < first
    Label leave_, over_budget_, tail_;
    u32 check_at_ = 0;
    u8 available_ = 0;  ///< domains that check_available() has seen in this block
};

}  // namespace droste::jit
