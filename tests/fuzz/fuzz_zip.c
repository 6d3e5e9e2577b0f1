/* A whole PyTorch checkpoint. */
#include "fuzz.h"
#include "fuzz_tensors.h"
#include "model/torch_bin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tensors tensors = {0};
    (void)torch_bin_add(&tensors, data, size, "file", NULL);
    fuzz_touch(&tensors);
    tensors_release(&tensors);
    return 0;
}
