// SPDX-License-Identifier: Apache-2.0
// The vectors and code of the interrupt handlers of real mode.
#include "machine/loader/real_mode_handlers.h"

#include <array>

#include "machine/board_map.h"
#include "machine/loader/boot_area.h"

namespace droste {

namespace {

constexpr unsigned vectors = 256, lines = 8;
constexpr u64 handler_room = 16;

struct Handler {
    unsigned first, count;  ///< its vectors; a later row takes them from an earlier one
    std::array<u8, handler_room> code;
};
constexpr Handler handlers[] = {
    {0, vectors, {0xCF}},  // iret
    // push ax; mov al, 20h (nonspecific EOI); out 20h, al; pop ax; iret
    {board::bios_vectors[0], lines, {0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF}},
    // the same with out 0A0h, al before: both 8259s have the interrupt in service
    {board::bios_vectors[1], lines, {0x50, 0xB0, 0x20, 0xE6, 0xA0, 0xE6, 0x20, 0x58, 0xCF}},
};
static_assert(sizeof handlers / sizeof *handlers * handler_room <= board::high_memory - board::real_mode_handlers);

}  // namespace

void lay_real_mode_handlers(GuestMemory& memory) {
    constexpr u16 segment = 0xF000;
    u64 at = board::real_mode_handlers;
    for (const Handler& h : handlers) {
        memory.write(at, h.code);
        for (unsigned v = h.first; v < h.first + h.count; ++v) {
            put16(memory, v * 4u, static_cast<u16>(at - segment * 16));
            put16(memory, v * 4u + 2, segment);
        }
        at += handler_room;
    }
}

}  // namespace droste
