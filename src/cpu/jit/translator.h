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
        u32 k = 0;
        u8* resume = nullptr;  ///< null: the instruction ends the block
    };
    bool decode();
    void instruction(u32 k);
    void entry_check();
    u32 place_of_check() const;
    void call_body(u32 k);
    Cold& cold(u32 k);
    void emit_cold();

    bool reencode(u32 k, const Decoded& d);
    void lea(u32 k, const Decoded& d);
    void load_immediate(const Decoded& d);
    void push(u32 k, const Decoded& d);
    void pop(u32 k, const Decoded& d);
    void end(u32 k, const Decoded& d);

    /// Effective address as a host operand; may load r10 and r11.
    Mem effective(const Decoded& d, u32 offset, bool segment);
    /// Linear address to r10.
    void linear(const Decoded& d, u32 offset);
    /// Probes [r10, r10 + size): then the host address is r10 + r11. Uses rcx and r13.
    void probe(unsigned size, bool write, Label& miss);
    Reg read_guest(unsigned guest, Reg scratch);
    void write_guest(unsigned guest, Reg from);
    /// Looks for the block at linear address r10: then r13 is its jump entry. Uses rcx, r10, r11.
    void look_up(Label& miss);
    void jump_to_entry();
    /// Goes to `target`, an offset from the start of the page; `k`: the branch to redo on a miss, or none.
    void go(i64 target, i64 k);
    void page_plus(Reg r, i64 offset);

    bool code64() const { return (mode_ & mode_bits::code_mask) == mode_bits::code64; }

    Jit& jit_;
    Block& block_;
    Translated& out_;
    const Layout& layout_;
    const u32 mode_;
    const u32 page_offset_;
    Assembler a_;
    std::vector<Decoded> decoded_;
    std::vector<Form> forms_;
    std::vector<Cold> cold_;
    struct SiteStub { u8* field; u16 target; };
    std::vector<SiteStub> direct_;
    Label leave_, over_budget_, tail_;
    u32 check_at_ = 0;
};

}  // namespace droste::jit
