// SPDX-License-Identifier: Apache-2.0
// hello: says so; with arguments, ends in each way that there is.
#include "kernel.h"

void kernel::main()
{
    print("hello");
    if (*arguments()) print(", ");
    print(arguments());
    print("\n");
    if (argument_is("fail")) check(false, "asked to fail");
    if (argument_is("skip")) skip("asked to");
    if (argument_is("spin")) for (;;) {}
    if (argument_is("triple-fault")) {
        const struct [[gnu::packed]] {
            u16 limit = 0;
            u64 base = 0;
        } none;
        asm volatile("lidt %0; ud2" : : "m"(none));
    }
    if (argument_is("shutdown"))
        for (const char* c = "Shutdown"; *c; ++c) out8(0x8900, static_cast<u8>(*c));
}
