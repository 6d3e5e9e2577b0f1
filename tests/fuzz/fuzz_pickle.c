/* The pickle of a PyTorch checkpoint that is sound otherwise, with three storages of 64 bytes. */
#include "fuzz.h"
#include "fuzz_tensors.h"
#include "model/torch_bin.h"
#include "model/torch_writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char numbers[64];
    static const struct torch_tensor storages[] = {
        {.data = numbers, .n_bytes = 64}, {.data = numbers, .n_bytes = 64}, {.data = numbers, .n_bytes = 64}};
    struct tensors tensors = {0};
    struct bytes pickle = {0};
    bytes_add(&pickle, data, size);
    struct bytes file = torch_archive(pickle, storages, 3);
    (void)torch_bin_add(&tensors, file.data, file.n, "file", NULL);
    fuzz_touch(&tensors);
    tensors_release(&tensors);
    bytes_release(&file);
    return 0;
}
