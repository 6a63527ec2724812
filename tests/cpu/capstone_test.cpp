// SPDX-License-Identifier: Apache-2.0
// The decoder against Capstone: lengths and mnemonics of random bytes, and of the code of this process.
#include <algorithm>
#include <capstone/capstone.h>
#include <elf.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <link.h>
#include <set>
#include <vector>

#include "cpu/decode/decoder.h"
#include "cpu/state.h"
#include "random.h"

namespace droste::test {
namespace {

struct Alias {
    std::string_view row;
    std::initializer_list<std::string_view> names;
};
/// Rows whose SDM name stands for several of Capstone's.
const Alias aliases[] = {
    {"MOVS", {"movsb", "movsw", "movsd", "movsq"}},
    {"CMPS", {"cmpsb", "cmpsw", "cmpsd", "cmpsq"}},
    {"SCAS", {"scasb", "scasw", "scasd", "scasq"}},
    {"LODS", {"lodsb", "lodsw", "lodsd", "lodsq"}},
    {"STOS", {"stosb", "stosw", "stosd", "stosq"}},
    {"INS", {"insb", "insw", "insd"}},
    {"OUTS", {"outsb", "outsw", "outsd"}},
    {"CBW", {"cwde", "cdqe"}},
    {"CWD", {"cdq", "cqo"}},
    {"PUSHF", {"pushfd", "pushfq"}},
    {"POPF", {"popfd", "popfq"}},
    {"PUSHA", {"pushal", "pushaw"}},
    {"POPA", {"popal", "popaw"}},
    {"XLAT", {"xlatb"}},
    {"JCXZ", {"jecxz", "jrcxz"}},
    {"MOV", {"movabs"}},
    {"RETF", {"retfq"}},
    {"IRET", {"iretd", "iretq"}},
    {"JMP", {"ljmp"}},
    {"CALL", {"lcall"}},
    {"SAL", {"shl"}},
    {"UD1", {"ud2b"}},
    {"FDISI", {"fdisi8087_nop"}},
    {"FENI", {"feni8087_nop"}},
    {"FSTP", {"fstpnce"}},
    {"FWAIT", {"wait"}},
    {"FXSAVE", {"fxsave64"}},
    {"FXRSTOR", {"fxrstor64"}},
    {"XSAVE", {"xsave64"}},
    {"XSAVEC", {"xsavec64"}},
    {"XSAVEOPT", {"xsaveopt64"}},
    {"XSAVES", {"xsaves64"}},
    {"XRSTOR", {"xrstor64"}},
    {"XRSTORS", {"xrstors64"}},
    {"MOVD", {"movq"}},
    {"VMOVD", {"vmovq"}},
    {"PEXTRD", {"pextrq"}},
    {"VPEXTRD", {"vpextrq"}},
    {"PINSRD", {"pinsrq"}},
    {"VPINSRD", {"vpinsrq"}},
    {"VCVTPD2DQ", {"vcvtpd2dqx"}},
    {"VCVTPD2PS", {"vcvtpd2psx"}},
    {"VCVTTPD2DQ", {"vcvttpd2dqx"}},
};

class Capstone {
public:
    explicit Capstone(cs_mode mode) {
        const bool opened = cs_open(CS_ARCH_X86, mode, &handle_) == CS_ERR_OK;
        EXPECT_TRUE(opened);
        insn_ = cs_malloc(handle_);
    }
    ~Capstone() {
        cs_free(insn_, 1);
        cs_close(&handle_);
    }
    Capstone(const Capstone&) = delete;
    Capstone& operator=(const Capstone&) = delete;
    /// Length, 0: not decoded. `name`: the mnemonic without prefixes.
    unsigned decode(std::span<const u8> bytes, std::string& name) {
        const u8* code = bytes.data();
        std::size_t size = bytes.size();
        u64 address = 0x1000;
        if (!cs_disasm_iter(handle_, &code, &size, &address, insn_)) return 0;
        name = insn_->mnemonic;
        const auto blank = name.rfind(' ');
        if (blank != std::string::npos) name.erase(0, blank + 1);
        return insn_->size;
    }

private:
    csh handle_{};
    cs_insn* insn_ = nullptr;
};

std::string lower_case(std::string_view s) {
    std::string r(s);
    std::transform(r.begin(), r.end(), r.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
    return r;
}

bool same_name(std::string_view row, const std::string& capstone) {
    if (lower_case(row) == capstone) return true;
    for (const Alias& a : aliases)
        if (a.row == row && std::find(a.names.begin(), a.names.end(), capstone) != a.names.end()) return true;
    // CMPPS and its like with the predicate in the name.
    const std::string name = lower_case(row);
    for (const std::string_view prefix : {"cmp", "vcmp", "vpcmp", "pcmp"})
        if (name.size() == prefix.size() + 2 && name.starts_with(prefix) && capstone.starts_with(prefix) &&
            capstone.ends_with(name.substr(prefix.size())))
            return true;
    return false;
}

struct Mode {
    const char* name;
    cs_mode capstone;
    u32 mode;
};
constexpr Mode modes[] = {{"64", CS_MODE_64, mode_bits::code64 | mode_bits::stack32},
                          {"32", CS_MODE_32, mode_bits::code32 | mode_bits::stack32},
                          {"16", CS_MODE_16, mode_bits::code16}};

/// Everything about one comparison, for the reasons below.
struct Sample {
    std::span<const u8> bytes;
    const Isa& isa;
    u32 mode;
    DecodeStatus status;
    const Decoded& decoded;     ///< when status is ok
    unsigned capstone_length;   ///< 0: not decoded
    const std::string& capstone;
    bool here() const { return status == DecodeStatus::ok; }
    bool only_capstone() const { return !here() && capstone_length != 0; }
    bool only_here() const { return here() && capstone_length == 0; }
    bool both() const { return here() && capstone_length != 0; }
    bool is64() const { return (mode & mode_bits::code_mask) == mode_bits::code64; }
    bool is16() const { return (mode & mode_bits::code_mask) == mode_bits::code16; }
    std::string_view row() const { return here() ? decoded.row->mnemonic : ""; }
    bool capstone_is(std::initializer_list<std::string_view> names) const {
        return std::find(names.begin(), names.end(), capstone) != names.end();
    }
    bool row_is(std::initializer_list<std::string_view> names) const {
        return std::find(names.begin(), names.end(), row()) != names.end();
    }
    /// Position of the first byte that is no legacy prefix.
    unsigned prefixes() const {
        unsigned n = 0;
        while (n < bytes.size() && std::string_view("\x66\x67\xF0\xF2\xF3\x26\x2E\x36\x3E\x64\x65").find(
                                       static_cast<char>(bytes[n])) != std::string_view::npos)
            ++n;
        return n;
    }
    bool has_prefix(u8 p) const {
        return std::find(bytes.begin(), bytes.begin() + prefixes(), p) != bytes.begin() + prefixes();
    }
    bool has_rex() const { return is64() && (bytes[prefixes()] & 0xF0) == 0x40; }
};

struct Reason {
    std::string_view text;
    bool (*applies)(const Sample&);
    bool in_random_bytes = true;  ///< occurs there; every such reason must, or it is out of date
    u64 count = 0;
};

/// Where the two may differ, and why we are right (SDM) or cannot be compared. The host's own processor
/// decides the disputed cases in the host fuzz test.
std::vector<Reason> reasons() {
    return {
        {"LOCK where it gives #UD", [](const Sample& s) { return s.only_capstone() && s.has_prefix(0xF0); }},
        {"REX counts only before the opcode",
         [](const Sample& s) {
             const auto prefix = [](u8 b) {
                 return b == 0xF0 || b == 0x66 || b == 0x67 || b == 0xF2 || b == 0xF3 || (b & 0xE7) == 0x26;
             };
             return s.has_rex() && prefix(s.bytes[s.prefixes() + 1]);
         }},
        {"VEX.W must be 0",
         [](const Sample& s) { return s.only_capstone() && s.capstone == "vperm2f128"; }, false},
        {"AMD's XOP", [](const Sample& s) { return s.only_capstone() && s.bytes[s.prefixes()] == 0x8F; }, false},
        {"66, F2, F3 or REX before VEX give #UD",
         [](const Sample& s) {
             unsigned n = s.prefixes();
             const bool sized = s.has_prefix(0x66) || s.has_prefix(0xF2) || s.has_prefix(0xF3) || s.has_rex();
             if (s.has_rex())
                 ++n;
             return s.only_capstone() && sized && (s.bytes[n] == 0xC4 || s.bytes[n] == 0xC5);
         }},
        {"NP in the SDM: 66, F2 and F3 give #UD",
         [](const Sample& s) {
             if (!s.only_capstone())
                 return false;
             std::vector<u8> rest;
             for (unsigned i = 0; i < s.bytes.size(); ++i)
                 if (i >= s.prefixes() || (s.bytes[i] != 0x66 && s.bytes[i] != 0xF2 && s.bytes[i] != 0xF3))
                     rest.push_back(s.bytes[i]);
             Decoded d;
             return rest.size() < s.bytes.size() && s.isa.decode(rest, s.mode, d) == DecodeStatus::ok &&
                    same_name(d.row->mnemonic, s.capstone);
         }},
        {"VSIB needs a SIB byte",
         [](const Sample& s) { return s.only_capstone() && s.capstone.find("gather") != std::string::npos; }},
        {"SWAPGS is #UD outside 64-bit mode",
         [](const Sample& s) { return s.only_capstone() && !s.is64() && s.capstone == "swapgs"; }},
        {"outside 64-bit mode too all of an unused VEX.vvvv must be 1",
         [](const Sample& s) {
             const unsigned n = s.prefixes();
             return s.only_capstone() && !s.is64() && s.bytes[n] == 0xC4 && !(s.bytes[n + 2] & 0x40);
         }},
        {"EVEX: Capstone 4 knows half of the instructions and few of the rules; the host's processor decides",
         [](const Sample& s) {
             unsigned n = s.prefixes();
             if (s.has_rex()) ++n;
             const bool evex = s.bytes[n] == 0x62 && (s.is64() || s.bytes[n + 1] >= 0xC0);
             return evex && !s.both();
         }},
        {"Knights Landing's AVX-512: four iterations, exponents, reciprocals of 28 bits",
         [](const Sample& s) {
             return s.both() && s.decoded.evex;
         }},
        {"opmask registers, tiles, dot products, Galois fields: newer than Capstone's tables, or half of them",
         [](const Sample& s) {
             return (s.here() && s.decoded.row->domain == Domain::avx512 && s.decoded.vex) ||
                    (s.only_here() && (s.decoded.row->domain == Domain::amx || s.row().starts_with("VPDP") || s.row().starts_with("GF2P8") ||
                                       s.row().starts_with("VGF2P8") || s.row().starts_with("VAES") ||
                                       s.row() == "VPCLMULQDQ"));
         }},
        {"extensions that no model has: SVM, SGX, SMX, TSX, PCOMMIT, FMA4, 3DNow!, XOP, PadLock, SMM, opmasks with R or B",
         [](const Sample& s) {
             if (!s.only_capstone())
                 return false;
             const bool fma4 =
                 s.capstone.starts_with("vf") && (s.capstone.ends_with("ps") || s.capstone.ends_with("pd") ||
                                                  s.capstone.ends_with("ss") || s.capstone.ends_with("sd"));
             const unsigned n = s.prefixes() + (s.has_rex() ? 1 : 0);
             const bool mask = s.capstone[0] == 'k' && (s.bytes[n] == 0xC4 || s.bytes[n] == 0xC5);
             const bool amd = s.bytes[n] == 0x8F || (s.bytes[n] == 0x0F && s.bytes[n + 1] == 0x0F);
             const bool via = s.bytes[n] == 0x0F && (s.bytes[n + 1] & 0xFE) == 0xA6;
             return fma4 || mask || amd || via ||
                    s.capstone_is({"clgi",     "stgi",    "skinit", "vmload",     "vmsave",    "vmrun",
                                   "vmmcall",  "invlpga", "encls",  "enclu",      "getsec",    "pcommit",
                                   "xbegin",   "xend",    "xabort", "xtest",      "rsm",       "femms",
                                   "monitorx", "mwaitx",  "clzero", "vpermil2ps", "vpermil2pd"});
         }},
        {"VMX has a table of its own",
         [](const Sample& s) {
             return s.only_capstone() &&
                    s.capstone_is({"vmcall", "vmclear", "vmfunc", "vmlaunch", "vmptrld", "vmptrst", "vmread",
                                   "vmresume", "vmwrite", "vmxoff", "vmxon", "invept", "invvpid"});
         }},
        {"newer than Capstone's tables, or their gaps",
         [](const Sample& s) {
             return s.only_here() && s.row_is({"ENDBR32", "ENDBR64", "RDPKRU", "WRPKRU", "SERIALIZE",
                                               "VBROADCASTI128", "NOP", "PREFETCH", "UD0"});
         }},
        {"newer than Capstone's tables: what it calls otherwise, or not at all",
         [](const Sample& s) {
             return s.here() &&
                    s.row_is({"INCSSP",    "RDSSP",    "SAVEPREVSSP", "RSTORSSP",  "WRSS",      "WRUSS",
                              "SETSSBSY",  "CLRSSBSY", "UMONITOR",    "UMWAIT",    "TPAUSE",    "MOVDIRI",
                              "MOVDIR64B", "CLDEMOTE", "WBNOINVD",    "WRMSRNS",   "RDMSRLIST", "WRMSRLIST",
                              "UIRET",     "TESTUI",   "CLUI",        "STUI",      "SENDUIPI",  "ERETS",
                              "ERETU",     "LKGS"});
         }},
        {"fences ignore ModRM.rm",
         [](const Sample& s) {
             return s.only_here() && s.row_is({"LFENCE", "MFENCE", "SFENCE"});
         }},
        {"MOV with a segment register that does not exist is found by its body",
         [](const Sample& s) { return s.only_here() && s.row() == "MOV"; }},
        {"Intel processors ignore 66 and 67 before near branches in 64-bit mode",
         [](const Sample& s) {
             return s.both() && s.is64() && s.prefixes() > 0 && (s.decoded.row->traits & traits::force64);
         }},
        {"REX.W overrides 66 for PUSH's immediate",
         [](const Sample& s) { return s.both() && s.is64() && s.has_prefix(0x66) && s.row() == "PUSH"; },
         false},
        {"UD0 and UD1 have a ModRM byte",
         [](const Sample& s) {
             return s.both() && s.row_is({"UD0", "UD1"});
         }},
        {"CLWB is 66 0F AE /6, RDPID F3 0F C7 /7: newer",
         [](const Sample& s) {
             return s.both() && s.row_is({"CLWB", "RDPID"});
         }},
        {"F3 REX 0F 7E is MOVQ and F3 REX 90 is PAUSE whatever REX says",
         [](const Sample& s) {
             return s.both() && s.is64() && s.has_prefix(0xF3) && s.row_is({"MOVQ", "PAUSE"});
         }},
        {"a prefix before 66, F2, F3 or REX hides the mandatory one from Capstone",
         [](const Sample& s) { return s.both() && s.prefixes() > 1 && s.capstone_length == s.decoded.len; }},
        {"Capstone does not see mandatory prefixes in 16-bit code",
         [](const Sample& s) { return s.is16() && s.prefixes() > 0; }},
    };
}

class Comparison {
public:
    explicit Comparison(const Mode& m)
        : reasons_(reasons()), mode_(m), capstone_(m.capstone), tables_(cpu_instruction_tables()),
          isa_(tables_) {}

    const Isa& isa() const { return isa_; }
    /// Counts a difference under its reason, or fails; gives the length to go on with.
    unsigned compare(std::span<const u8> bytes) {
        ++compared;
        Decoded d;
        std::string name;
        const DecodeStatus status = isa_.decode(bytes, mode_.mode, d);
        const unsigned length = capstone_.decode(bytes, name);
        const Sample s{bytes, isa_, mode_.mode, status, d, length, name};
        if (s.both() && length == d.len && same_name(d.row->mnemonic, name)) ++agreed;
        else if (s.here() || length != 0) explain(s);
        return length != 0 ? length : s.here() ? d.len : 1;
    }
    void expect_reasons_used(std::set<std::string_view>& used) {
        for (const Reason& r : reasons_)
            if (r.count > 0) used.insert(r.text);
    }
    u64 compared = 0, agreed = 0;

private:
    void explain(const Sample& s) {
        for (Reason& r : reasons_)
            if (r.applies(s)) {
                ++r.count;
                return;
            }
        std::string hex;
        for (unsigned i = 0; i < std::max<unsigned>(s.capstone_length, s.here() ? s.decoded.len : 0); ++i)
            hex += fmt::format(" {:02X}", s.bytes[i]);
        if (++unexplained_ <= 30)
            ADD_FAILURE() << fmt::format("mode {}:{} | here {} {} | Capstone {} {}", mode_.name, hex,
                                         s.here() ? s.decoded.len : 0, s.row(), s.capstone_length,
                                         s.capstone_length != 0 ? s.capstone : "-");
    }
    std::vector<Reason> reasons_;
    Mode mode_;
    Capstone capstone_;
    std::vector<RowSpan> tables_;
    Isa isa_;
    unsigned unexplained_ = 0;
};

/// Bytes that start like the encoding of a row: uniform bytes would rarely reach the long opcodes.
void random_instruction(const Isa& isa, Random& random, bool is64, std::array<u8, max_insn_bytes>& bytes) {
    for (u8& b : bytes) b = static_cast<u8>(random.next());
    if (random.chance(20)) return;
    const auto pick = [&]() -> const Encoding& {
        return isa.row(static_cast<u16>(random.below(isa.size()))).encoding;
    };
    const Encoding* picked = &pick();
    while (picked->evex && !random.chance(15)) picked = &pick();  // Capstone knows too few of them
    const Encoding& e = *picked;
    unsigned n = 0;
    const auto put = [&](unsigned b) { bytes[n++] = static_cast<u8>(b); };
    // One optional prefix at most: Capstone takes some combinations for others of its tables.
    const u64 prefix = random.below(100);
    if (prefix < 3) put(0x2E);
    else if (e.vex || e.evex || e.pp != Pp::any) (void)0;
    else if (prefix < 15) put(0x66);
    else if (prefix < 20) put(0x67);
    else if (prefix < 22) put(0xF2);
    else if (prefix < 24) put(0xF3);
    const u64 r = random.next();
    if (e.evex) {
        const unsigned pp = e.pp == Pp::p66 ? 1 : e.pp == Pp::f3 ? 2 : e.pp == Pp::f2 ? 3 : 0;
        put(0x62);
        put((is64 ? r & 0xF0 : 0xF0) | e.map);
        put((e.w < 0 ? r >> 8 & 0x80 : e.w << 7) | (random.chance(50) ? 0x78 : r >> 8 & 0x78) | 4 | pp);
        put(random.chance(50) ? (r >> 16 & 0x67) | 8 : r >> 16 & 0xFF);
    } else if (e.vex) {
        const unsigned pp = e.pp == Pp::p66 ? 1 : e.pp == Pp::f3 ? 2 : e.pp == Pp::f2 ? 3 : 0;
        const unsigned w = e.w < 0 ? r & 1 : static_cast<unsigned>(e.w),
                       l = e.l < 0 ? r >> 1 & 1 : static_cast<unsigned>(e.l);
        const unsigned vvvv = random.chance(50) ? 15 : r >> 2 & 15;
        if (e.map == 1 && random.chance(50)) {
            put(0xC5);
            put((r >> 8 & 0x80) | 0x40 | vvvv << 3 | l << 2 | pp);
        } else {
            put(0xC4);
            put((r >> 8 & 0xE0) | e.map);
            put(w << 7 | vvvv << 3 | l << 2 | pp);
        }
        if (!is64) bytes[n - (e.map == 1 ? 1 : 2)] |= 0xC0;
    } else {
        if (e.pp == Pp::p66) put(0x66);
        if (e.pp == Pp::f3) put(0xF3);
        if (e.pp == Pp::f2) put(0xF2);
        if (is64 && (e.w == 1 || random.chance(30))) put(0x40 | (e.w == 1 ? 8 : 0) | (r >> 16 & 15));
        if (e.map >= 1) put(0x0F);
        if (e.map == 2) put(0x38);
        if (e.map == 3) put(0x3A);
    }
    put(e.opcode | (e.plus_r ? r >> 24 & 7 : 0));
    if (e.modrm) {
        u8& m = bytes[n];
        if (e.mod == Mod::reg) m |= 0xC0;
        if (e.reg >= 0 && random.chance(90)) m = static_cast<u8>((m & 0xC7) | e.reg << 3);
        if (e.rm >= 0 && random.chance(90)) m = static_cast<u8>(0xC0 | (m & 0x38) | e.rm);
    }
}

TEST(Capstone, RandomBytes) {
    std::set<std::string_view> used;
    for (const Mode& m : modes) {
        Comparison c(m);
        Random random(1);
        std::array<u8, max_insn_bytes> bytes{};
        for (unsigned i = 0; i < 400000; ++i) {
            random_instruction(c.isa(), random, m.capstone == CS_MODE_64, bytes);
            c.compare(bytes);
        }
        c.expect_reasons_used(used);
        EXPECT_GT(c.agreed, c.compared * 78 / 100) << m.name;
    }
    for (const Reason& r : reasons()) {
        EXPECT_TRUE(used.contains(r.text) || !r.in_random_bytes) << "out of date: " << r.text;
    }
}

/// The code of this program and of its libraries, from end to end.
TEST(Capstone, CodeOfThisProcess) {
    std::vector<std::span<const u8>> code;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* to) {
            for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
                const auto& p = info->dlpi_phdr[i];
                if (p.p_type == PT_LOAD && (p.p_flags & PF_X))
                    static_cast<std::vector<std::span<const u8>>*>(to)->emplace_back(
                        reinterpret_cast<const u8*>(info->dlpi_addr + p.p_vaddr), p.p_filesz);
            }
            return 0;
        },
        &code);
    ASSERT_GE(code.size(), 3u);
    Comparison c(modes[0]);
    for (std::span<const u8> rest : code)
        while (rest.size() >= max_insn_bytes) rest = rest.subspan(c.compare(rest.first(max_insn_bytes)));
    EXPECT_GT(c.compared, 200000u);
    EXPECT_GT(c.agreed, c.compared * 98 / 100);
    fmt::print("{} instructions, {} agreed\n", c.compared, c.agreed);
}

}  // namespace
}  // namespace droste::test
