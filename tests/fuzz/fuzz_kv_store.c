/* The file that says that a folder is a store, and of which version. */
#include "fuzz_kv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char sound[] = "quire kv store\nformat 1\n";
    fuzz_kv_manifest();
    fuzz_kv_put_file("../../store", data, size);
    fuzz_kv_use(fuzz_kv_text(), FUZZ_END);
    fuzz_kv_put_file("../../store", sound, sizeof sound - 1);
    return 0;
}
