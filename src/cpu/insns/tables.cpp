// SPDX-License-Identifier: Apache-2.0
// The catalogue of this folder's instruction tables.
#include "cpu/insns/tables.h"

#include "cpu/decode/decoder.h"

namespace droste {

std::vector<RowSpan> cpu_instruction_tables() {
    return {arithmetic_rows(), logic_rows(),   shift_rows(), bit_rows(),    move_rows(), stack_rows(),
            string_rows(),     branch_rows(),  flag_rows(),  hint_rows(),   bcd_rows(),  sse_rows(),
            avx_rows(),        mmx_rows(),     x87_rows(),   crypto_rows(), far_rows(),  system_call_rows(),
            segment_rows(),    control_rows(), machine_rows(), xsave_rows(), avx_extension_rows(),
            avx512_move_rows(), avx512_float_rows(), avx512_integer_rows(), avx512_fp16_rows(),
            avx512_mask_rows(), wait_rows(), direct_store_rows(), msr_list_rows(), shadow_stack_rows(),
            user_interrupt_rows(), fred_rows(), amx_rows()};
}

}  // namespace droste
