// SPDX-License-Identifier: Apache-2.0
// Compares the instruction table with the data files of Intel's XED: xed_check <folder with xed-isa.txt>.
//
// Every form of the instruction sets that the models have is turned into bytes and decoded here; length,
// name, privilege, flags, LOCK, default operand size and the reads and writes of operands must agree. Rows
// that no form reaches are listed too. Run by hand: the data files are not part of this repository. Exit
// status 1: differences.
#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <utility>
#include <string>
#include <vector>

#include "cpu/decode/decoder.h"
#include "cpu/state.h"

using namespace droste;

namespace {

/// One PATTERN of a XED instruction block with what the block says about it.
struct Form {
    std::string iclass, isa_set, attributes, flags, pattern, operands, file;
    int cpl = 3;
};

std::string trimmed(std::string_view s) {
    const auto first = s.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return {};
    return std::string(s.substr(first, s.find_last_not_of(" \t\r") - first + 1));
}

std::vector<std::string> words(const std::string& text) {
    std::istringstream in(text);
    std::vector<std::string> result;
    for (std::string w; in >> w;) result.push_back(w);
    return result;
}

void read_file(const std::filesystem::path& path, std::vector<Form>& forms) {
    std::ifstream in(path);
    Form block;
    bool inside = false, instructions = false;
    std::string joined;
    for (std::string line; std::getline(in, line);) {
        if (const auto hash = line.find('#'); hash != std::string::npos) line.erase(hash);
        joined += trimmed(line);
        if (!joined.empty() && joined.back() == '\\') {
            joined.back() = ' ';
            continue;
        }
        const std::string text = std::exchange(joined, {});
        if (text.ends_with("()::")) instructions = text.find("INSTRUCTIONS") != std::string::npos;
        if (!instructions) continue;
        if (text == "{") {
            block = Form{};
            block.file = path.filename();
            inside = true;
        } else if (text == "}") {
            inside = false;
        } else if (inside) {
            const auto colon = text.find(':');
            if (colon == std::string::npos) continue;
            const std::string key = trimmed(text.substr(0, colon)), value = trimmed(text.substr(colon + 1));
            if (key == "ICLASS") block.iclass = value;
            else if (key == "CPL") block.cpl = std::stoi(value);
            else if (key == "EXTENSION" && block.isa_set.empty()) block.isa_set = value;
            else if (key == "ISA_SET") block.isa_set = value;
            else if (key == "ATTRIBUTES") block.attributes = value;
            else if (key == "FLAGS") block.flags = value;
            else if (key == "PATTERN") block.pattern = value;
            else if (key == "OPERANDS") {
                block.operands = value;
                forms.push_back(block);
            }
        }
    }
}

/// ISA sets that the models offer, with the feature that ours should name (several when ours splits them).
const std::map<std::string, std::vector<Feature>>& scope() {
    using F = Feature;
    static const std::map<std::string, std::vector<Feature>> sets = {
        {"I86", {F::base}},
        {"I186", {F::base}},
        {"I286REAL", {F::base}},
        {"I286PROTECTED", {F::base}},
        {"I386", {F::base}},
        {"I486", {F::base}},
        {"I486REAL", {F::base}},
        {"PPRO", {F::base, F::syscall, F::fxsr}},
        {"PENTIUMREAL", {F::base, F::tsc, F::msr, F::cx8}},
        {"FAT_NOP", {F::base}},
        {"PPRO_UD0_LONG", {F::base}},
        {"LONGMODE", {F::base, F::lm, F::syscall, F::cmpxchg16b}},
        {"CMOV", {F::cmov}},
        {"FCMOV", {F::cmov, F::fpu}},
        {"FCOMI", {F::cmov, F::fpu}},
        {"X87", {F::fpu}},
        {"PENTIUMMMX", {F::mmx}},
        {"SSE", {F::sse}},
        {"SSE2", {F::sse2}},
        {"SSE2MMX", {F::sse2}},
        {"SSEMXCSR", {F::sse}},
        {"SSE_PREFETCH", {F::base, F::sse}},
        {"SSE3", {F::sse3}},
        {"SSE3X87", {F::sse3}},
        {"SSSE3", {F::ssse3}},
        {"SSSE3MMX", {F::ssse3}},
        {"SSE4", {F::sse4_1}},
        {"SSE42", {F::sse4_2}},
        {"AES", {F::aes}},
        {"PCLMULQDQ", {F::pclmulqdq}},
        {"AVX", {F::avx, F::pclmulqdq}},
        {"AVX2", {F::avx2}},
        {"AVX2GATHER", {F::avx2}},
        {"AVXAES", {F::aes}},
        {"FMA", {F::fma}},
        {"F16C", {F::f16c}},
        {"BMI1", {F::bmi1}},
        {"BMI2", {F::bmi2}},
        {"LZCNT", {F::lzcnt}},
        {"POPCNT", {F::popcnt}},
        {"MOVBE", {F::movbe}},
        {"SHA", {F::sha}},
        {"ADOX_ADCX", {F::adx}},
        {"CLFSH", {F::clfsh}},
        {"CLFLUSHOPT", {F::clflushopt}},
        {"CLWB", {F::clwb}},
        {"FXSAVE", {F::fxsr}},
        {"FXSAVE64", {F::fxsr}},
        {"XSAVE", {F::xsave}},
        {"XSAVEOPT", {F::xsaveopt}},
        {"XSAVEC", {F::xsavec}},
        {"XSAVES", {F::xsaves}},
        {"RDPID", {F::rdpid}},
        {"RDRAND", {F::rdrand}},
        {"RDSEED", {F::rdseed}},
        {"RDTSCP", {F::rdtscp}},
        {"RDWRFSGS", {F::fsgsbase}},
        {"RDPMC", {F::base}},
        {"INVPCID", {F::invpcid}},
        {"PKU", {F::pku}},
        {"SERIALIZE", {F::serialize}},
        {"WAITPKG", {F::waitpkg}},
        {"MOVDIRI", {F::movdiri}},
        {"MOVDIR", {F::movdiri, F::movdir64b}},
        {"MOVDIR64B", {F::movdir64b}},
        {"CLDEMOTE", {F::cldemote}},
        {"WBNOINVD", {F::wbnoinvd}},
        {"CET", {F::base, F::cet_ss}},
        {"UINTR", {F::uintr}},
        {"FRED", {F::fred, F::lkgs}},
        {"LKGS", {F::lkgs}},
        {"WRMSRNS", {F::wrmsrns}},
        {"MSRLIST", {F::msrlist}},
        {"SMAP", {F::smap}},
        {"SEP", {F::sep}},
        {"MONITOR", {F::monitor}},
        {"PAUSE", {F::base}},
        {"LAHF", {F::base, F::lahf_lm}},
        {"CMPXCHG16B", {F::cmpxchg16b}},
        {"PREFETCH_NOP", {F::base, F::prefetchw}},
        {"PREFETCHW", {F::base, F::prefetchw}},
        {"AVX_VNNI", {F::avx_vnni}},
        {"AVX_GFNI", {F::gfni}},
        {"GFNI", {F::gfni}},
        {"VAES", {F::vaes}},
        {"VPCLMULQDQ", {F::vpclmulqdq}},
        {"AMX_TILE", {F::amx_tile}},
        {"AMX_INT8", {F::amx_int8}},
        {"AMX_BF16", {F::amx_bf16}},
    };
    return sets;
}

/// AVX-512's ISA sets carry the vector length in their names.
std::optional<std::vector<Feature>> features_of_set(const std::string& set) {
    if (const auto found = scope().find(set); found != scope().end()) return found->second;
    using F = Feature;
    static const std::map<std::string_view, Feature> families = {
        {"AVX512F", F::avx512f},         {"AVX512CD", F::avx512cd},
        {"AVX512DQ", F::avx512dq},       {"AVX512BW", F::avx512bw},
        {"AVX512_IFMA", F::avx512ifma},  {"AVX512_VBMI", F::avx512vbmi},
        {"AVX512_VBMI2", F::avx512vbmi2}, {"AVX512_VNNI", F::avx512vnni},
        {"AVX512_BITALG", F::avx512bitalg}, {"AVX512_VPOPCNTDQ", F::avx512vpopcntdq},
        {"AVX512_BF16", F::avx512bf16},  {"AVX512_FP16", F::avx512fp16},
        {"AVX512_GFNI", F::gfni},        {"AVX512_VAES", F::vaes},
        {"AVX512_VPCLMULQDQ", F::vpclmulqdq}};
    for (const std::string_view suffix :
         {"_128", "_256", "_512", "_128N", "_SCALAR", "_KOPB", "_KOPW", "_KOPD", "_KOPQ"})
        if (set.ends_with(suffix))
            if (const auto f = families.find(std::string_view(set).substr(0, set.size() - suffix.size()));
                f != families.end())
                return std::vector{f->second};
    return std::nullopt;
}

/// Mode conditions that stand for processors or modes that no model has.
bool foreign(const std::vector<std::string>& tokens) {
    for (const std::string& t : tokens)
        for (const char* no : {"UBIT=0", "MPXMODE=1", "IBHF=1", "PREFETCHIT=1",
                               "PREFETCHRST=1", "CET=0", "WBNOINVD=0", "CLDEMOTE=0", "MODE_SHORT_UD0=1", "P4=0", "LZCNT=0",
                               "TZCNT=0", "rex2_refining_prefix", "rexb4_prefix", "MAP4", "MAP7", "MODEP5=1"})
            if (t == no) return true;
    return false;
}

struct Synthesis {
    std::vector<u8> bytes;
    bool usable = false;
};

/// Bytes of a form in a mode (0: 16, 1: 32, 2: 64 bits); `memory` decides where the pattern leaves MOD open.
Synthesis synthesise(const std::vector<std::string>& tokens, unsigned mode, bool memory) {
    Synthesis s;
    std::vector<u8> prefixes, opcode, immediate;
    bool w = false, b = false, vex = false, evex = false, rounds = false, masked = false, has_modrm = false, need_sib = false, rm_fixed = false;
    unsigned pp = 0, map = 1, l = 0, reg = 3, rm = 2, mod = memory ? 0 : 3;
    bool osz = false, asz = false, df64 = false;
    std::string wants_ea;
    const auto binary = [](const std::string& t) {
        const auto at = t.find("0b");
        unsigned v = 0;
        for (char c : t.substr(at + 2))
            if (c == '0' || c == '1') v = v * 2 + static_cast<unsigned>(c - '0');
        return v;
    };
    for (const std::string& t : tokens) {
        if ((t == "mode64" && mode != 2) || (t == "mode32" && mode != 1) || (t == "mode16" && mode != 0) ||
            (t == "not64" && mode == 2) || (t == "not16" && mode == 0))
            return s;
        if (t.starts_with("0x")) opcode.push_back(static_cast<u8>(std::stoul(t, nullptr, 16)));
        else if (t.starts_with("0b")) opcode.push_back(static_cast<u8>(binary(t) << 3));
        else if (t.starts_with("SRM[0b")) opcode.back() = static_cast<u8>(opcode.back() | binary(t));
        else if (t == "SRM[rrr]") opcode.back() |= 3;
        else if (t.starts_with("MOD")) {
            if (t == "MOD[mm]") has_modrm = true;
            else if (t == "MOD[0b11]" || t == "MOD=3") { has_modrm = true; mod = 3; }
            else if (t == "MOD!=3" || t == "MOD=0") mod = 0;
            else if (t == "MOD=1") mod = 1;
            else if (t == "MOD=2") mod = 2;
        } else if (t.starts_with("REG[0b")) reg = binary(t);
        else if (t.starts_with("RM[0b")) { rm = binary(t); rm_fixed = true; }
        else if (t == "RM=4" || t == "SIB") need_sib = true;
        else if (t == "osz_refining_prefix" || t == "66_prefix") osz = true;
        else if (t == "f2_refining_prefix" || t == "REP=2" || t == "repne" || t == "refining_f2")
            prefixes.push_back(0xF2);
        else if (t == "f3_refining_prefix" || t == "REP=3" || t == "repe" || t == "refining_f3")
            prefixes.push_back(0xF3);
        else if (t == "rexw_prefix") w = true;
        else if (t == "rexb_prefix") b = true;
        else if (t == "lock_prefix") prefixes.push_back(0xF0);
        else if (t == "VV1") vex = true;
        else if (t == "EVV") evex = vex = true;
        else if (t == "BCRC=1") rounds = true;
        else if (t.starts_with("VMODRM_") || t.starts_with("UISA_VMODRM_")) masked = need_sib = true;
        else if (t == "V66") pp = 1;
        else if (t == "VF3") pp = 2;
        else if (t == "VF2") pp = 3;
        else if (t == "V0F38") map = 2;
        else if (t == "V0F3A") map = 3;
        else if (t == "MAP5") map = 5;
        else if (t == "MAP6") map = 6;
        else if (t == "VL256" || t == "VL=1") l = 1;
        else if (t == "VL512" || t == "VL=2") l = 2;
        else if (t == "W1") w = true;
        else if (t == "DF64()" || t == "FORCE64()" || t == "IMMUNE66_LOOP64()") df64 = true;
        else if (t.starts_with("eamode") || t == "eanot16") wants_ea = t;
        else if (t == "SRM!=0" && opcode.back() % 8 == 0) opcode.back() |= 1;
    }
    if ((w || b) && !vex && mode != 2) return s;
    if (wants_ea == "eamode64" && mode != 2) return s;
    if (wants_ea == "eamode32") asz = mode != 1;
    if (wants_ea == "eamode16") asz = mode == 1;
    if (wants_ea == "eamode16" && mode == 2) return s;
    if (wants_ea == "eanot16" && mode == 0) asz = true;
    const unsigned address = asz ? (mode == 1 ? 2 : 4) : mode == 0 ? 2 : mode == 1 ? 4 : 8;
    const unsigned operand = w ? 8 : mode == 2 ? (osz && !df64 ? 2 : 4) : (mode == 1) != osz ? 4 : 2;
    for (const std::string& t : tokens) {
        unsigned n = 0;
        if (t == "UIMM8()" || t == "SIMM8()" || t == "BRDISP8()" || t == "UIMM8_1()" || t == "SE_IMM8()")
            n = 1;
        else if (t == "UIMM16()") n = 2;
        else if (t == "SIMMz()" || t == "BRDISPz()" || t == "UIMM32()" || t == "BRDISP32()")
            n = std::min(operand, 4u);
        else if (t == "UIMMv()") n = operand;
        else if (t == "MEMDISPv()") n = address;
        for (unsigned i = 0; i < n; ++i) immediate.push_back(t == "SE_IMM8()" ? 0x30 : 0x11);
    }
    // VEX tables write SE_IMM8 and the immediate in one byte; nothing more is needed.
    if (osz && !vex) s.bytes.push_back(0x66);
    if (asz) s.bytes.push_back(0x67);
    s.bytes.insert(s.bytes.end(), prefixes.begin(), prefixes.end());
    if (vex) {
        const bool novsr = std::find(tokens.begin(), tokens.end(), "NOVSR") != tokens.end();
        const bool noevsr = std::find(tokens.begin(), tokens.end(), "NOEVSR") != tokens.end();
        const u8 vvvv = novsr || noevsr ? 0x78 : 0x50;
        if (evex) {
            s.bytes.push_back(0x62);
            s.bytes.push_back(static_cast<u8>(0xF0 | map));
            s.bytes.push_back(static_cast<u8>((w ? 0x80 : 0) | (masked ? 0x78 : vvvv) | 4 | pp));
            s.bytes.push_back(static_cast<u8>(l << 5 | (rounds ? 0x10 : 0) | 8 | (masked ? 1 : 0)));
        } else {
            s.bytes.push_back(0xC4);
            s.bytes.push_back(static_cast<u8>(0xE0 | map));
            s.bytes.push_back(static_cast<u8>((w ? 0x80 : 0) | vvvv | l << 2 | pp));
        }
    } else if (w || b) {
        s.bytes.push_back(static_cast<u8>(0x40 | (w ? 8 : 0) | (b ? 1 : 0)));
    }
    s.bytes.insert(s.bytes.end(), opcode.begin(), opcode.end());
    if (has_modrm) {
        if (mod != 3 && (need_sib || (address != 2 && rm == 4 && !rm_fixed))) rm = 4;
        s.bytes.push_back(static_cast<u8>(mod << 6 | reg << 3 | rm));
        if (mod != 3 && rm == 4 && address != 2) s.bytes.push_back(0x08);  // [base + index 1]
        if (mod == 1) s.bytes.push_back(0x11);
        if (mod == 2) s.bytes.insert(s.bytes.end(), address == 2 ? 2 : 4, u8{0x11});
    }
    s.bytes.insert(s.bytes.end(), immediate.begin(), immediate.end());
    s.usable = true;
    return s;
}

/// The name that the SDM gives to a XED class.
std::string sdm_name(std::string name) {
    for (const std::string_view prefix : {"REPE_", "REPNE_", "REP_"})
        if (name.starts_with(prefix)) name.erase(0, prefix.size());
    for (const std::string_view suffix : {"_LOCK", "_NEAR", "_XMM", "_C5", "64"})
        if (name.ends_with(suffix) && name != "ENDBR64") name.erase(name.size() - suffix.size());
    static const std::map<std::string, std::string> other = {
        {"JB", "JB"},
        {"JNB", "JAE"},
        {"JZ", "JE"},
        {"JNZ", "JNE"},
        {"JNBE", "JA"},
        {"JNL", "JGE"},
        {"JNLE", "JG"},
        {"SETNB", "SETAE"},
        {"SETZ", "SETE"},
        {"SETNZ", "SETNE"},
        {"SETNBE", "SETA"},
        {"SETNL", "SETGE"},
        {"SETNLE", "SETG"},
        {"CMOVNB", "CMOVAE"},
        {"CMOVZ", "CMOVE"},
        {"CMOVNZ", "CMOVNE"},
        {"CMOVNBE", "CMOVA"},
        {"CMOVNL", "CMOVGE"},
        {"CMOVNLE", "CMOVG"},
        {"JRCXZ", "JCXZ"},
        {"JECXZ", "JCXZ"},
        {"MOV_CR", "MOV"},
        {"MOV_DR", "MOV"},
        {"CALL_FAR", "CALL"},
        {"JMP_FAR", "JMP"},
        {"RET_FAR", "RETF"},
        {"CWDE", "CBW"},
        {"CDQE", "CBW"},
        {"CDQ", "CWD"},
        {"CQO", "CWD"},
        {"PUSHFD", "PUSHF"},
        {"PUSHFQ", "PUSHF"},
        {"POPFD", "POPF"},
        {"POPFQ", "POPF"},
        {"PUSHAD", "PUSHA"},
        {"POPAD", "POPA"},
        {"INCSSPD", "INCSSP"},
        {"INCSSPQ", "INCSSP"},
        {"RDSSPD", "RDSSP"},
        {"RDSSPQ", "RDSSP"},
        {"WRSSD", "WRSS"},
        {"WRSSQ", "WRSS"},
        {"WRUSSD", "WRUSS"},
        {"WRUSSQ", "WRUSS"},
        {"IRETD", "IRET"},
        {"IRETQ", "IRET"},
        {"SYSRET_AMD", "SYSRET"},
        {"SYSCALL_AMD", "SYSCALL"},
        {"FWAIT", "FWAIT"},
        {"INT3", "INT3"},
    };
    const auto found = other.find(name);
    return found == other.end() ? name : found->second;
}

bool same_name(std::string_view row, const std::string& iclass) {
    const std::string name = sdm_name(iclass);
    if (name == row || iclass == row) return true;
    // MOVSB .. MOVSQ and their like.
    for (const std::string_view s : {"MOVS", "CMPS", "SCAS", "LODS", "STOS", "INS", "OUTS"})
        if (row == s && name.size() == s.size() + 1 && name.starts_with(s)) return true;
    static const std::set<std::pair<std::string_view, std::string_view>> pairs = {
        {"SAL", "SHL"},
        {"PEXTRW", "PEXTRW_SSE4"},
        {"MOVD", "MOVQ"},
        {"VMOVD", "VMOVQ"},
        {"PEXTRD", "PEXTRQ"},
        {"VPEXTRD", "VPEXTRQ"},
        {"PINSRD", "PINSRQ"},
        {"VPINSRD", "VPINSRQ"},
        {"FENI", "FENI8087_NOP"},
        {"FDISI", "FDISI8087_NOP"},
        {"FSETPM", "FSETPM287_NOP"},
        {"FSTP", "FSTPNCE"},
        {"XCHG", "NOP"},
    };
    if (pairs.contains({row, name})) return true;
    return name.starts_with("NOP") && row == "NOP";
}

/// Letters of our flag notation for XED's flag list; the case "IMMx" or the last one when there are several.
FlagUse flag_use(const std::string& text) {
    FlagUse use;
    std::string part = text;
    if (const auto x = text.find("IMMx"); x != std::string::npos) part = text.substr(x);
    for (const std::string& w : words(part)) {
        static constexpr std::pair<std::string_view, unsigned> names[] = {
            {"of-", 0}, {"sf-", 1}, {"zf-", 2}, {"af-", 3}, {"pf-", 4}, {"cf-", 5}, {"df-", 6}, {"if-", 7}};
        for (const auto& [name, at] : names) {
            if (!w.starts_with(name)) continue;
            const std::string what = w.substr(3);
            const u8 m = static_cast<u8>(1u << at);
            if (what == "tst") use.read |= m;
            else if (what == "u") use.undefined |= m;
            else use.written |= m;
        }
    }
    return use;
}

std::string letters(u8 flags) {
    std::string s;
    for (unsigned i = 0; i < 8; ++i)
        if (flags & (1u << i)) s += "OSZAPCDI"[i];
    return s.empty() ? "-" : s;
}

struct ReadWrite {
    bool present = false, read = false, written = false, conditional = false;
};
ReadWrite xed_access(const std::string& operands, const std::vector<std::string_view>& names) {
    ReadWrite rw;
    for (const std::string& w : words(operands)) {
        bool match = false;
        for (const std::string_view n : names)
            match |= n.ends_with("=") ? false : w.find(n) != std::string::npos;
        if (!match || w.find(":SUPP") != std::string::npos) continue;
        const auto colon = w.find(':');
        if (colon == std::string::npos) continue;
        const std::string action = w.substr(colon + 1, w.find(':', colon + 1) - colon - 1);
        if (action != "r" && action != "w" && action != "rw" && action != "cr" && action != "cw" &&
            action != "rcw" && action != "crw" && action != "crcw")
            continue;
        rw.present = true;
        rw.read |= action.find('r') != std::string::npos;
        rw.written |= action.find('w') != std::string::npos;
        rw.conditional |= action.ends_with("cw");
    }
    return rw;
}

/// Differences that have a reason. `classes`: XED's names; a last star stands for any ending.
struct Accepted {
    std::string_view kind;
    std::vector<std::string_view> classes;
    std::string_view reason;
};
std::vector<Accepted> accepted() {
    return {
        {"missing", {"RSM", "UDB"}, "#UD: RSM outside SMM, which no model has; D6 in 64-bit mode"},
        {"access", {"MOVSS", "MOVSD_XMM"}, "the register form keeps the rest of its destination"},
        {"access", {"RDSSP*"}, "without a shadow stack the register stays"},
        {"access", {"VMASKMOVP*", "VPMASKMOV*"}, "elements that the mask leaves out stay"},
        {"access", {"XSAVE*"}, "of the old area only the header is read"},
        {"feature",
         {"MASKMOVQ", "MOVNTQ", "PAVG*", "PEXTRW", "PINSRW", "PMAX*", "PMIN*", "PMULHUW", "PSADBW", "PSHUFW"},
         "SDM: MMX instructions that came with SSE"},
        {"flags",
         {"CLRSSBSY", "RSTORSSP", "SAVEPREVSSP", "TESTUI"},
         "SDM: CF tells the result and the other flags are cleared; SAVEPREVSSP reads CF"},
        {"flags", {"UIRET"}, "SDM: DF is among the flags that it loads"},
        {"flags", {"BEXTR"}, "SDM: CF and OF are cleared"},
        {"flags", {"REPE_*", "REPNE_*"}, "the condition is on the ZF that the instruction itself sets"},
        {"flags", {"SBB*"}, "SDM: AF is set according to the result"},
        {"flags", {"VPTEST", "VTEST*"}, "SDM: the other flags are cleared, as the legacy form's are"},
        {"force64",
         {"LGDT", "LIDT", "SGDT", "SIDT"},
         "the bodies take 10 bytes in 64-bit mode whatever the operand size"},
        {"force64", {"SYSCALL"}, "its body looks at the mode"},
        {"privilege",
         {"CLRSSBSY", "SETSSBSY", "WRUSS*", "ERET*", "LKGS", "RDMSRLIST", "WRMSRLIST", "SWAPGS"},
         "#UD comes before #GP: the body checks"},
        {"privilege",
         {"CLAC", "STAC", "INVPCID", "MONITOR", "MWAIT", "MOV_CR", "MOV_DR", "SYSEXIT", "SYSRET*", "XRSTORS*",
          "XSAVES*", "XSETBV"},
         "#UD comes before #GP here, or the level is not always 0: the body checks"},
    };
}

class Check {
public:
    Check() : tables_(cpu_instruction_tables()), isa_(tables_), reached_(isa_.size()) {}

    void form(const Form& f) {
        const auto tokens = words(f.pattern);
        if (foreign(tokens)) return;
        const auto set = features_of_set(f.isa_set);
        if (!set) {
            out_of_scope.insert(f.isa_set);
            return;
        }
        for (unsigned mode = 0; mode < 3; ++mode)
            for (const bool memory : {false, true}) {
                const Synthesis s = synthesise(tokens, mode, memory);
                if (s.usable) one(f, tokens, s, mode, *set);
            }
    }

    void one(const Form& f, const std::vector<std::string>& tokens, const Synthesis& s, unsigned mode,
             const std::vector<Feature>& features) {
        ++compared;
        constexpr u32 modes[] = {mode_bits::code16, mode_bits::code32 | mode_bits::stack32,
                                 mode_bits::code64 | mode_bits::stack32};
        std::array<u8, max_insn_bytes> padded{};
        std::copy_n(s.bytes.begin(), std::min<std::size_t>(s.bytes.size(), padded.size()), padded.begin());
        Decoded d;
        const DecodeStatus status = isa_.decode(padded, modes[mode], d);
        std::string hex = fmt::format("{} ", mode == 0 ? 16 : mode == 1 ? 32 : 64);
        for (u8 b : s.bytes) hex += fmt::format("{:02X} ", b);
        if (status != DecodeStatus::ok) return note("missing", f.iclass, hex + f.isa_set + " | " + f.pattern);
        const InsnRow& row = *d.row;
        reached_[d.op] = true;
        if (d.len != s.bytes.size())
            note("length", f.iclass, fmt::format("{}| here {} {}", hex, row.mnemonic, d.len));
        if (!same_name(row.mnemonic, f.iclass))
            return note("name", f.iclass, fmt::format("{}| here {}", hex, row.mnemonic));
        if ((f.cpl == 0) != bool(row.traits & traits::privileged))
            note("privilege", f.iclass, fmt::format("{}| XED CPL {}", hex, f.cpl));
        if (std::find(features.begin(), features.end(), row.needs) == features.end())
            note("feature", f.iclass,
                 fmt::format("{}| XED {} here {}", hex, f.isa_set,
                             row.needs == Feature::base
                                 ? "base"
                                 : feature_rows()[static_cast<std::size_t>(row.needs) - 1].name));
        if (mode == 2) {
            const bool df64 = std::find(tokens.begin(), tokens.end(), "DF64()") != tokens.end();
            const bool force64 = std::find(tokens.begin(), tokens.end(), "FORCE64()") != tokens.end();
            if (df64 && !(row.traits & (traits::default64 | traits::force64)))
                note("default64", f.iclass, hex);
            if (force64 && !(row.traits & traits::force64) && d.osz != 3) note("force64", f.iclass, hex);
        }
        flags(f, row, hex);
        accesses(f, d, hex);
    }

    void flags(const Form& f, const InsnRow& row, const std::string& hex) {
        const FlagUse x = flag_use(f.flags);
        const FlagUse& u = row.flags;
        if (x.written != u.written || x.undefined != u.undefined || x.read != u.read)
            note("flags", f.iclass,
                 fmt::format("{}| XED w:{} u:{} r:{} here w:{} u:{} r:{}", hex, letters(x.written),
                             letters(x.undefined), letters(x.read), letters(u.written), letters(u.undefined),
                             letters(u.read)));
    }

    void accesses(const Form& f, const Decoded& d, const std::string& hex) {
        for (unsigned i = 0; i < d.row->operands.count; ++i) {
            const Operand& o = d.row->operands.op[i];
            ReadWrite x;
            switch (o.where) {
            case Where::modrm_rm_gpr: case Where::rm_gpr_only: case Where::vec_rm: case Where::vec_rm_only:
            case Where::mmx_rm: case Where::mmx_rm_only: case Where::memory: case Where::mask_rm:
            case Where::mask_rm_only: case Where::tile_rm_only: case Where::tile_memory:
                x = d.mem() ? xed_access(f.operands, {"MEM0"}) : xed_access(f.operands, {"_B()", "_B3()"});
                break;
            case Where::modrm_reg_gpr: case Where::vec_reg: case Where::mmx_reg: case Where::mask_reg:
            case Where::tile_reg:
                x = xed_access(f.operands, {"_R()", "_R3()"});
                break;
            case Where::vvvv_gpr: case Where::vec_vvvv: case Where::mask_vvvv: case Where::tile_vvvv:
                x = xed_access(f.operands, {"_N()", "_N3()"});
                break;
            case Where::opcode_gpr: x = xed_access(f.operands, {"_SB()"}); break;
            case Where::vec_is4: x = xed_access(f.operands, {"_SE()"}); break;
            default: continue;
            }
            if (f.operands.find("AGEN") != std::string::npos && o.where == Where::memory)
                continue;  // LEA: an address
            // A destination that may stay as it was is marked read and written here.
            if (x.conditional && x.written && o.read && o.written) continue;
            if (!x.present) {
                note("operand", f.iclass,
                     fmt::format("{}| operand {} of {} | {}", hex, i, d.row->mnemonic, f.operands));
                continue;
            }
            if (x.read != o.read || x.written != o.written)
                note("access", f.iclass,
                     fmt::format("{}| operand {}: XED {}{} here {}{} | {}", hex, i, x.read ? "r" : "",
                                 x.written ? "w" : "", o.read ? "r" : "", o.written ? "w" : "", f.operands));
        }
    }

    void note(const std::string& kind, const std::string& iclass, const std::string& text) {
        auto& list = differences[kind][iclass];
        list.push_back(text);
    }

    int report() {
        for (const Accepted& a : accepted()) {
            bool used = false;
            for (const std::string_view name : a.classes) {
                auto& classes = differences[std::string(a.kind)];
                for (auto c = classes.begin(); c != classes.end();) {
                    const bool match = name.ends_with('*')
                                           ? c->first.starts_with(name.substr(0, name.size() - 1))
                                           : c->first == name;
                    used |= match;
                    c = match ? classes.erase(c) : std::next(c);
                }
            }
            if (!used) note("out of date", std::string(a.kind), std::string(a.reason));
        }
        int status = 0;
        for (const auto& [kind, classes] : differences) {
            if (classes.empty()) continue;
            status = 1;
            fmt::print("== {}: {} classes\n", kind, classes.size());
            for (const auto& [iclass, texts] : classes)
                fmt::print("  {} ({}): {}\n", iclass, texts.size(), texts.front());
        }
        fmt::print("Rows that no form reaches:\n");
        for (u16 op = 0; op < isa_.size(); ++op)
            if (!reached_[op] && !(isa_.row(op).traits & traits::cet)) {
                const InsnRow& r = isa_.row(op);
                fmt::print("  {} {}map {} {:02X} /{} pp {} w {} l {}\n", r.mnemonic,
                           r.encoding.vex ? "VEX " : r.encoding.evex ? "EVEX " : "", r.encoding.map, r.encoding.opcode, r.encoding.reg,
                           static_cast<int>(r.encoding.pp), r.encoding.w, r.encoding.l);
            }
        fmt::print("Not compared, no model has them:");
        for (const auto& s : out_of_scope) fmt::print(" {}", s);
        fmt::print("\n{} encodings compared, {} rows\n", compared, isa_.size());
        return status;
    }

    std::map<std::string, std::map<std::string, std::vector<std::string>>> differences;
    std::set<std::string> out_of_scope;
    u64 compared = 0;

private:
    std::vector<RowSpan> tables_;
    Isa isa_;
    std::vector<bool> reached_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2 || !std::filesystem::exists(std::filesystem::path(argv[1]) / "xed-isa.txt")) {
        fmt::print(stderr,
                   "xed_check: usage: xed_check FOLDER; the folder holds XED's datafiles with xed-isa.txt "
                   "(github.com/intelxed/xed, datafiles/).\n");
        return 2;
    }
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[1])) {
        const std::string name = entry.path().filename();
        if (name.ends_with(".txt")) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    std::vector<Form> forms;
    for (const auto& file : files) read_file(file, forms);
    Check check;
    for (const Form& f : forms) check.form(f);
    return check.report();
}
