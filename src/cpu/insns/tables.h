// SPDX-License-Identifier: Apache-2.0
// The instruction tables of this folder, one accessor a file. A new file needs one line here and one in
// tables.cpp.
#pragma once
#include "cpu/decode/row.h"

namespace droste {

// general-purpose
RowSpan arithmetic_rows();   // ADD ADC SUB SBB CMP INC DEC NEG MUL IMUL DIV IDIV, ADCX ADOX MULX
RowSpan logic_rows();        // AND OR XOR NOT TEST, ANDN BLSx BEXTR BZHI PDEP PEXT
RowSpan shift_rows();        // SHL SHR SAR ROL ROR RCL RCR SHLD SHRD, SHLX SARX SHRX RORX
RowSpan bit_rows();          // BT BTS BTR BTC BSF BSR LZCNT TZCNT POPCNT BSWAP CRC32
RowSpan move_rows();         // MOV MOVZX MOVSX XCHG XADD CMPXCHG CMOVcc SETcc LEA MOVBE CBW CWD XLAT
RowSpan stack_rows();        // PUSH POP PUSHA POPA ENTER LEAVE PUSHF POPF
RowSpan string_rows();       // MOVS CMPS SCAS LODS STOS INS OUTS
RowSpan branch_rows();       // Jcc JMP CALL RET near, LOOP JCXZ
RowSpan flag_rows();         // CLC STC CMC CLD STD LAHF SAHF
RowSpan hint_rows();         // NOP PREFETCH ENDBR UD BOUND
RowSpan bcd_rows();          // AAA AAS AAM AAD DAA DAS
// executed by thunks
RowSpan sse_rows();
RowSpan avx_rows();
RowSpan avx_extension_rows();  // AVX-VNNI, GFNI, VAES, VPCLMULQDQ in VEX
RowSpan avx512_move_rows();
RowSpan avx512_float_rows();
RowSpan avx512_integer_rows();
RowSpan avx512_fp16_rows();
RowSpan avx512_mask_rows();
RowSpan amx_rows();
RowSpan mmx_rows();
RowSpan x87_rows();
RowSpan crypto_rows();       // AES PCLMUL SHA
// system
RowSpan far_rows();          // far JMP CALL RET IRET INT
RowSpan system_call_rows();  // SYSCALL SYSRET SYSENTER SYSEXIT
RowSpan
segment_rows();  // MOV Sreg, PUSH/POP Sreg, LDS.., LGDT.. SGDT.., LLDT LTR STR SLDT, LAR LSL VERR VERW ARPL
RowSpan
control_rows();  // MOV CR/DR, CLTS LMSW SMSW, INVLPG INVPCID, INVD WBINVD, CLI STI, HLT, SWAPGS, FSGSBASE
RowSpan machine_rows();  // CPUID RDTSC RDTSCP RDPMC RDMSR WRMSR, IN OUT, MONITOR MWAIT PAUSE, RDRAND RDSEED
                         // RDPID, CLFLUSH..
RowSpan wait_rows();         // UMONITOR UMWAIT TPAUSE
RowSpan direct_store_rows(); // MOVDIRI MOVDIR64B
RowSpan msr_list_rows();     // RDMSRLIST WRMSRLIST
RowSpan shadow_stack_rows(); // INCSSP RDSSP SAVEPREVSSP RSTORSSP WRSS WRUSS SETSSBSY CLRSSBSY
RowSpan user_interrupt_rows(); // CLUI STUI TESTUI UIRET SENDUIPI
RowSpan fred_rows();         // ERETS ERETU LKGS
RowSpan xsave_rows();        // FXSAVE FXRSTOR XSAVE* XRSTOR* XGETBV XSETBV, RDPKRU WRPKRU

}  // namespace droste
