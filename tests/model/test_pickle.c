/* The pickle interpreter, operation by operation: what it takes, what it refuses and by which name, and its bounds. */
#include "model/pickle_machine.h"
#include "test.h"
#include "torch_writer.h"

#define TEXT_1(c) "X\1\0\0\0" c
#define STORAGE_OF(type, n)                                                                                            \
    "(X\7\0\0\0storagectorch\n" type "\nX\1\0\0\0"                                                                     \
    "0X\3\0\0\0cpu" n "tQ"
#define STORAGE                                     STORAGE_OF("FloatStorage", "K\6")
#define REBUILD                                     "ctorch._utils\n_rebuild_tensor_v2\n"
#define TENSOR_FROM(storage, offset, size, strides) REBUILD "(" storage offset size strides "\x89}tR"
#define TENSOR                                      TENSOR_FROM(STORAGE, "K\0", "K\2K\3\x86", "K\3K\1\x86")
#define ONE(value)                                  "\x80\2}" TEXT_1("a") value "s."
#define ONE_TENSOR                                  ONE(TENSOR)

#define BYTES(text) text, sizeof(text) - 1

/* A copy of exactly its size, so that the address sanitizer sees a read behind it. */
static quire_status open_copy(struct pickle **pickle, unsigned char **copy, const void *code, size_t n,
                              quire_error *err)
{
    *copy = malloc(n ? n : 1);
    memcpy(*copy, code, n);
    return pickle_open(pickle, *copy, n, "f", err);
}

static void check_refused(const void *code, size_t n, quire_status expected, const char *message)
{
    quire_error err = {0};
    struct pickle *pickle = NULL;
    unsigned char *copy;
    CHECK_EQ_INT(open_copy(&pickle, &copy, code, n, &err), expected);
    CHECK(pickle == NULL);
    CHECK_MESSAGE(err, message);
    CHECK_MESSAGE(err, "'f'");
    pickle_close(pickle);
    free(copy);
}

static void reads_a_tensor(void)
{
    static const struct {
        const char *code;
        size_t n;
    } same[] = {
        {BYTES(ONE_TENSOR)},
        /* Each operation that means the same. */
        {BYTES("\x80\2}(" TEXT_1("a") TENSOR "u.")},
        {BYTES("\x80\2}U\1a" TENSOR "s.")},
        {BYTES("\x80\2ccollections\nOrderedDict\n)Rq\7" TEXT_1("a") TENSOR "sh\7b.")},
        {BYTES("\x80\2}" TEXT_1("a") TENSOR_FROM(STORAGE_OF("FloatStorage", "J\6\0\0\0"), "M\0\0", "(K\2K\3t",
                                                 "(\x8a\1\3\x8a\1\1t") "s.")},
        {BYTES(ONE("ctorch._utils\n_rebuild_parameter\n" TENSOR "\x88}\x87R"))},
        {BYTES(ONE("ctorch._utils\n_rebuild_parameter_with_state\n(" TENSOR "\x88}}tR"))},
        {BYTES(ONE(REBUILD "(" STORAGE "K\0K\2K\3\x86K\3K\1\x86\x89}NtR"))},
        {BYTES(ONE("ctorch._utils\n_rebuild_tensor_v3\n((X\7\0\0\0storagectorch.storage\nUntypedStorage\nX\1\0\0\0"
                   "0X\3\0\0\0cpuK\30tQK\0K\2K\3\x86K\3K\1\x86\x89}ctorch\nfloat32\ntR"))},
        {BYTES("\x80\2}r\0\1\0\0(" TEXT_1("n") "NX\5\0\0\0model}" TEXT_1("a") TENSOR "suj\0\1\0\0b.")},
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        quire_error err = {0};
        struct pickle *pickle = NULL;
        CHECK_OK(pickle_open(&pickle, (const unsigned char *)same[i].code, same[i].n, "f", &err));
        if (!pickle)
            continue;
        CHECK_EQ_INT(pickle_n_tensors(pickle), 1);
        struct pickle_tensor t = pickle_tensor_at(pickle, 0);
        CHECK(t.n_name == 1 && t.name[0] == 'a' && t.n_storage == 1 && t.storage[0] == '0');
        CHECK_EQ_STR(t.element->name, "F32");
        CHECK(t.storage_bytes == 24 && t.offset == 0 && t.n_dims == 2);
        CHECK(t.dims[0] == 2 && t.dims[1] == 3 && t.strides[0] == 3 && t.strides[1] == 1);
        pickle_close(pickle);
    }
}

static void reads_whole_numbers(void)
{
    static const struct {
        const char *code;
        size_t n;
        long long want;
    } cases[] = {
        {BYTES("K\xff"), 255},
        {BYTES("M\xff\xff"), 65535},
        {BYTES("J\xff\xff\xff\xff"), -1},
        {BYTES("J\0\0\0\x80"), INT32_MIN},
        {BYTES("\x8a\0"), 0},
        {BYTES("\x8a\1\xff"), -1},
        {BYTES("\x8a\2\xff\0"), 255},
        {BYTES("\x8a\5\0\0\0\0\1"), 1LL << 32},
        {BYTES("\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f"), INT64_MAX},
        {BYTES("\x8a\10\0\0\0\0\0\0\0\x80"), INT64_MIN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quire_error err = {0};
        struct pickle *pickle = NULL;
        struct bytes code = {0};
        bytes_add(&code, BYTES("\x80\2}N"));
        bytes_add(&code, cases[i].code, cases[i].n);
        bytes_add(&code, BYTES("s."));
        CHECK_OK(pickle_open(&pickle, code.data, code.n, "f", &err));
        if (pickle)
            CHECK_EQ_INT(pickle->values[2].integer, cases[i].want);
        pickle_close(pickle);
        bytes_release(&code);
    }
}

/* Whatever else a dictionary holds is passed over; the tensors come in the order of their names. */
static void passes_over_other_values(void)
{
    quire_error err = {0};
    struct pickle *pickle = NULL;
    static const char code[] =
        "\x80\2}(" TEXT_1("b") TENSOR TEXT_1("n") "K\1"
                                                  "K\2" TENSOR_FROM(STORAGE, "K\0", ")", ")")
                                                      TEXT_1("l") "](NNeNa" TEXT_1("f") "G\0\0\0\0\0\0\0\0" TEXT_1("a")
                                                          TENSOR TEXT_1("t") "N\x85" TEXT_1("d") "}u.";
    check_refused(BYTES(code), QUIRE_ERR_FORMAT, "a tensor whose name is a number");
    static const char sound[] = "\x80\2}(" TEXT_1("b")
        TENSOR TEXT_1("n") "K\1"
                           "K\2N" TEXT_1("l") "](NNeNa" TEXT_1("f") "G\0\0\0\0\0\0\0\0" TEXT_1("a")
                               TENSOR TEXT_1("t") "N\x85" TEXT_1("d") "}u.";
    CHECK_OK(pickle_open(&pickle, (const unsigned char *)sound, sizeof sound - 1, "f", &err));
    if (pickle) {
        CHECK_EQ_INT(pickle_n_tensors(pickle), 2);
        CHECK(pickle_tensor_at(pickle, 0).name[0] == 'a' && pickle_tensor_at(pickle, 1).name[0] == 'b');
    }
    pickle_close(pickle);
}

/* Every way to ask for something that runs. */
static void names_what_it_refuses_to_run(void)
{
    static const struct {
        const char *code;
        size_t n;
        const char *message;
    } cases[] = {
        {BYTES("\x80\2cos\nsystem\nX\4\0\0\0true\x85R."), "asks for os.system, which"},
        {BYTES("\x80\2cposix\nsystem\nX\4\0\0\0true\x85R."), "asks for posix.system, which"},
        {BYTES("\x80\2c__builtin__\neval\nX\1\0\0\0"
               "1\x85R."),
         "asks for __builtin__.eval, which"},
        {BYTES("\x80\2cbuiltins\nexec\n."), "asks for builtins.exec, which"},
        {BYTES("\x80\2ctorch.hub\nload\n)R."), "asks for torch.hub.load, which"},
        {BYTES("\x80\2ctorch\nload\n)R."), "asks for torch.load, which"},
        {BYTES("\x80\2cbuiltins\ngetattr\n("
               "ctorch\nFloatStorage\n" TEXT_1("x") "tR."),
         "asks for builtins.getattr"},
        {BYTES("\x80\2(X\4\0\0\0trueios\nsystem\n."), "asks for os.system, which"},
        {BYTES("\x80\2X\2\0\0\0osX\6\0\0\0system\x93."), "asks for os.system, which"},
        {BYTES("\x80\2csubprocess\nPopen\n)\x81."), "asks for subprocess.Popen, which"},
        {BYTES("\x80\2crunpy\n_run_code\n."), "asks for runpy._run_code, which"},
        {BYTES("\x80\2cnumpy.core.multiarray\nscalar\n."), "asks for numpy.core.multiarray.scalar, which"},
        {BYTES("\x80\2cos\033[2J\nsys\x07tem\n."), "asks for os\\x1b[2J.sys\\x07tem, which"},
        {BYTES("\x80\2c\n\n."), "asks for ., which"},
        {BYTES("\x80\2ccollections\nOrderedDict\0\n."), "asks for collections.OrderedDict\\x00, which"},
        {BYTES("\x80\2ctorch._utils\n_rebuild_tensor\n."), "asks for torch._utils._rebuild_tensor, which"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_refused(cases[i].code, cases[i].n, QUIRE_ERR_UNSUPPORTED, cases[i].message);
}

static void refuses_other_operations(void)
{
    static const char known[] = "(.GJKMNQRUXabcehijqrstu)]}\x80\x85\x86\x87\x88\x89\x8a\x93";
    for (int code = 0; code < 256; code++) {
        unsigned char pickle[] = {0x80, 2, '}', '}', (unsigned char)code, 0, 0, 0, 0, 0, 0, 0, 0, '.'};
        char message[64];
        snprintf(message, sizeof message, "byte 4: the operation 0x%02x (", (unsigned)code);
        if (!memchr(known, code, sizeof known - 1))
            check_refused(pickle, sizeof pickle, QUIRE_ERR_UNSUPPORTED, message);
    }
    check_refused(BYTES("\x80\2}}\x81."), QUIRE_ERR_UNSUPPORTED, "(NEWOBJ)");
    check_refused(BYTES("\x80\2\x8b\0\0\0\x80."), QUIRE_ERR_UNSUPPORTED, "0x8b (LONG4)"); /* of 2^31 bytes */
}

static void refuses_malformed_pickles(void)
{
    static const struct {
        const char *code;
        size_t n;
        quire_status status;
        const char *message;
    } cases[] = {
        {BYTES(""), QUIRE_ERR_FORMAT, "byte 0: it is cut short"},
        {BYTES("}."), QUIRE_ERR_FORMAT, "does not begin with the protocol"},
        {BYTES("\x80\4}."), QUIRE_ERR_UNSUPPORTED, "protocol 4, expected 2"},
        {BYTES("\x80\2\x80\2}."), QUIRE_ERR_FORMAT, "it begins again"},
        {BYTES("\x80\2."), QUIRE_ERR_FORMAT, "needs a value that is not there"},
        {BYTES("\x80\2}}."), QUIRE_ERR_FORMAT, "values are left over"},
        {BYTES("\x80\2(}."), QUIRE_ERR_FORMAT, "values are left over"},
        {BYTES("\x80\2}.}"), QUIRE_ERR_FORMAT, "the entry goes on"},
        {BYTES("\x80\2N."), QUIRE_ERR_UNSUPPORTED, "it holds None, expected a dictionary of tensors"},
        {BYTES("\x80\2" TENSOR "."), QUIRE_ERR_UNSUPPORTED, "it holds a tensor, expected"},
        {BYTES("\x80\2t."), QUIRE_ERR_FORMAT, "needs a mark"},
        {BYTES("\x80\2}N(Ns."), QUIRE_ERR_FORMAT, "not there"}, /* below the mark */
        {BYTES("\x80\2}(Nu."), QUIRE_ERR_FORMAT, "a key without a value"},
        {BYTES("\x80\2](NNu."), QUIRE_ERR_FORMAT, "needs a dictionary, not a list"},
        {BYTES("\x80\2}Na."), QUIRE_ERR_FORMAT, "needs a list, not a dictionary"},
        {BYTES("\x80\2}(NNe."), QUIRE_ERR_FORMAT, "needs a list, not a dictionary"},
        {BYTES("\x80\2N}b."), QUIRE_ERR_FORMAT, "needs a dictionary, not None"},
        {BYTES("\x80\2})b."), QUIRE_ERR_FORMAT, "needs a dictionary, not a tuple"},
        {BYTES("\x80\2})R."), QUIRE_ERR_FORMAT, "needs a name, not a dictionary"},
        {BYTES("\x80\2ccollections\nOrderedDict\n}R."), QUIRE_ERR_FORMAT, "needs a tuple, not a dictionary"},
        {BYTES("\x80\2ccollections\nOrderedDict\nN\x85R."), QUIRE_ERR_UNSUPPORTED, "made from something"},
        {BYTES("\x80\2ctorch\nFloatStorage\n)R."), QUIRE_ERR_UNSUPPORTED, "torch.FloatStorage is called"},
        {BYTES("\x80\2ctorch\nfloat32\n)R."), QUIRE_ERR_UNSUPPORTED, "torch.float32 is called"},
        {BYTES("\x80\2h\0."), QUIRE_ERR_FORMAT, "place 0 of its memo is empty"},
        {BYTES("\x80\2}q\2h\1."), QUIRE_ERR_FORMAT, "place 1 of its memo is empty"},
        {BYTES("\x80\2q\0}."), QUIRE_ERR_FORMAT, "not there"},
        {BYTES("\x80\2}r\xff\xff\xff\xff."), QUIRE_ERR_UNSUPPORTED, "place 4294967295 of its memo"},
        {BYTES("\x80\2}r\0\0\10\0."), QUIRE_ERR_UNSUPPORTED, "place 524288 of its memo"},
        {BYTES("\x80\2X\xff\xff\xff\xffx."), QUIRE_ERR_FORMAT, "a string of 4294967295 bytes, of which 2 are there"},
        {BYTES("\x80\2X\2\0\0\0\xc3(."), QUIRE_ERR_FORMAT, "not UTF-8"},
        {BYTES("\x80\2X\1\0\0\0\xc3."), QUIRE_ERR_FORMAT, "not UTF-8"},
        {BYTES("\x80\2\x8a\11\0\0\0\0\0\0\0\0\0."), QUIRE_ERR_UNSUPPORTED, "a whole number of 9 bytes"},
        {BYTES("\x80\2\x8a\xff."), QUIRE_ERR_FORMAT, "cut short"},
        {BYTES("\x80\2cos"), QUIRE_ERR_FORMAT, "cut short"},
        {BYTES("\x80\2N\x93."), QUIRE_ERR_FORMAT, "not there"},
        {BYTES("\x80\2NN\x93."), QUIRE_ERR_FORMAT, "a name that is None in None"},
        {BYTES("\x80\2}X\2\0\0\0a\0" TENSOR "s."), QUIRE_ERR_FORMAT, "a string with a NUL byte"},
        {BYTES("\x80\2}" TEXT_1("a") TENSOR "s" TEXT_1("a") TENSOR "s."), QUIRE_ERR_FORMAT,
         "tensor 'a' is there twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_refused(cases[i].code, cases[i].n, cases[i].status, cases[i].message);
}

static void refuses_malformed_tensors(void)
{
#define SIZES(storage, offset, size, strides) BYTES(ONE(TENSOR_FROM(storage, offset, size, strides)))
    static const char id[] = "a persistent id that is not ('storage', type",
                      sizes[] = "expected whole numbers from 0 up";
    static const struct {
        const char *code;
        size_t n;
        quire_status status;
        const char *message;
    } cases[] = {
        {BYTES("\x80\2NQ."), QUIRE_ERR_FORMAT, "needs a tuple, not None"},
        {BYTES("\x80\2)Q."), QUIRE_ERR_FORMAT, id},
        {BYTES("\x80\2(NNNNNtQ."), QUIRE_ERR_FORMAT, id},
        {BYTES("\x80\2(X\6\0\0\0modulectorch\nFloatStorage\n" TEXT_1("0") TEXT_1("c") "K\1tQ."), QUIRE_ERR_FORMAT, id},
        {BYTES("\x80\2" STORAGE_OF("float32", "K\1") "."), QUIRE_ERR_FORMAT, id},
        {BYTES("\x80\2" STORAGE_OF("FloatStorage", "J\xff\xff\xff\xff") "."), QUIRE_ERR_FORMAT, id},
        {BYTES("\x80\2" STORAGE_OF("FloatStorage", "N") "."), QUIRE_ERR_FORMAT, id},
        {BYTES("\x80\2" STORAGE_OF("FloatStorage", "\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f") "."), QUIRE_ERR_FORMAT,
         "a storage of 9223372036854775807 elements"},
        {SIZES("N", "K\0", "K\2\x85", "K\1\x85"), QUIRE_ERR_FORMAT, "not made from a storage"},
        {SIZES(STORAGE, "N", "K\2\x85", "K\1\x85"), QUIRE_ERR_FORMAT, "not made from a storage"},
        {SIZES(STORAGE, "J\xff\xff\xff\xff", "K\2\x85", "K\1\x85"), QUIRE_ERR_FORMAT, "a negative offset"},
        {SIZES(STORAGE, "K\0", "J\xff\xff\xff\xff\x85", "K\1\x85"), QUIRE_ERR_FORMAT, "size holds a negative number"},
        {SIZES(STORAGE, "K\0", "K\2\x85", "J\xff\xff\xff\xff\x85"), QUIRE_ERR_FORMAT,
         "strides holds a negative number"},
        {SIZES(STORAGE, "K\0", "K\2\x85", "N\x85"), QUIRE_ERR_FORMAT, sizes},
        {SIZES(STORAGE, "K\0", "K\2", "K\1\x85"), QUIRE_ERR_FORMAT, "size is not a tuple"},
        {SIZES(STORAGE, "K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1t", ")"), QUIRE_ERR_FORMAT,
         "size is not a tuple of at most 16 numbers"},
        {SIZES(STORAGE, "K\0", "K\2K\3\x86", "K\1\x85"), QUIRE_ERR_FORMAT, "a tensor of 2 dimensions with 1 strides"},
        {BYTES(ONE(REBUILD ")R")), QUIRE_ERR_FORMAT, "not made from a storage"},
        {BYTES(ONE(REBUILD "(" STORAGE "K\0K\2\x85K\1\x85\x89}NNtR")), QUIRE_ERR_FORMAT, "not made from a storage"},
        {BYTES(ONE(REBUILD "(" STORAGE "K\0K\2\x85K\1\x85\x89}}" TEXT_1("c") "\x88stR")), QUIRE_ERR_UNSUPPORTED,
         "metadata"},
        {BYTES(ONE(TENSOR_FROM("(X\7\0\0\0storagectorch.storage\nUntypedStorage\n" TEXT_1("0") TEXT_1("c") "K\1tQ",
                               "K\0", ")", ")"))),
         QUIRE_ERR_FORMAT, "a tensor without a type"},
        {BYTES(ONE("ctorch._utils\n_rebuild_tensor_v3\n(" STORAGE "K\0))\x89}ctorch\nfloat32\ntR")), QUIRE_ERR_FORMAT,
         "without a type, or with two"},
        {BYTES(ONE("ctorch._utils\n_rebuild_parameter\nN\x88}\x87R")), QUIRE_ERR_FORMAT, "not made from a tensor"},
        {BYTES(ONE("ctorch._utils\n_rebuild_parameter\n" TENSOR "\x85R")), QUIRE_ERR_FORMAT, "not made from a tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_refused(cases[i].code, cases[i].n, cases[i].status, cases[i].message);
}

/* A pickle of n repetitions of a piece. */
static void check_bound(const char *piece, size_t n_piece, size_t n, const char *message)
{
    struct bytes code = {0};
    bytes_add(&code, BYTES("\x80\2}q\0"));
    for (size_t i = 0; i < n; i++)
        bytes_add(&code, piece, n_piece);
    check_refused(code.data, code.n, QUIRE_ERR_UNSUPPORTED, message);
    bytes_release(&code);
}

static void has_bounds(void)
{
    check_bound(BYTES("("), 65, "more than 64 levels of nesting");
    check_bound(BYTES("h\0"), 1 << 18, "more than 262144 values on its stack");
    check_bound(BYTES("N(t\x86"), 1 << 18, "more than 524288 values");
    check_bound(BYTES("h\0h\0s"), (1 << 19) + 1, "more than 524288 entries of dictionaries");
    /* A tuple that holds the one before five times, and so on: 5^n items for whoever counts them so; here 5 n. */
    check_bound(BYTES("(h\0h\0h\0h\0h\0tq\0"), 210000, "more than 1048576 items of tuples");
    struct bytes code = {0};
    bytes_add(&code, BYTES("\x80\2X\1\0\1\0"));
    for (int i = 0; i < 65537; i++)
        bytes_add(&code, "x", 1);
    check_refused(code.data, code.n, QUIRE_ERR_UNSUPPORTED, "a string of 65537 bytes, expected 65536 at most");
    memset(code.data + 2, 'x', code.n - 2);
    code.data[2] = 'c';
    check_refused(code.data, code.n, QUIRE_ERR_FORMAT, "a name of more than 255 bytes");
    bytes_release(&code);
    unsigned char *large = calloc(1, PICKLE_MAX_BYTES + 1);
    check_refused(large, PICKLE_MAX_BYTES + 1, QUIRE_ERR_UNSUPPORTED, "has 16777217 bytes, expected 16777216 at most");
    free(large);
}

/* A dictionary that holds itself, under the name that is followed. */
static void is_not_caught_in_circles(void)
{
    quire_error err = {0};
    struct pickle *pickle = NULL;
    static const char code[] = "\x80\2}q\0X\5\0\0\0modelh\0s.";
    CHECK_OK(pickle_open(&pickle, (const unsigned char *)code, sizeof code - 1, "f", &err));
    if (pickle)
        CHECK_EQ_INT(pickle_n_tensors(pickle), 0);
    pickle_close(pickle);
}

static void refuses_every_shorter_pickle(void)
{
    static const char code[] = ONE_TENSOR;
    for (size_t n = 0; n < sizeof code - 1; n++)
        check_refused(code, n, QUIRE_ERR_FORMAT, "");
}

static void survives_damage(void)
{
    static const char sound[] = "\x80\2ccollections\nOrderedDict\n)Rq\0(" TEXT_1("a") TENSOR "q\2" TEXT_1("b")
        TENSOR TEXT_1("c") "h\2u}X\11\0\0\0_metadata}sb.";
    uint64_t random = 20230505;
    for (int round = 0; round < 50000; round++) {
        quire_error err = {0};
        struct pickle *pickle = NULL;
        unsigned char code[sizeof sound - 1], *copy;
        memcpy(code, sound, sizeof code);
        for (uint64_t k = test_random(&random) % 4; k > 0; k--)
            code[test_random(&random) % sizeof code] = (unsigned char)test_random(&random);
        quire_status status = open_copy(&pickle, &copy, code, sizeof code, &err);
        CHECK((status == QUIRE_OK) == (pickle != NULL) && (status == QUIRE_OK) == (err.message[0] == '\0'));
        for (size_t i = 0; pickle && i < pickle_n_tensors(pickle); i++)
            CHECK(pickle_tensor_at(pickle, i).n_dims <= PICKLE_MAX_DIMS);
        pickle_close(pickle);
        free(copy);
    }
}

static const struct test tests[] = {
    {"reads_a_tensor", reads_a_tensor},
    {"reads_whole_numbers", reads_whole_numbers},
    {"passes_over_other_values", passes_over_other_values},
    {"names_what_it_refuses_to_run", names_what_it_refuses_to_run},
    {"refuses_other_operations", refuses_other_operations},
    {"refuses_malformed_pickles", refuses_malformed_pickles},
    {"refuses_malformed_tensors", refuses_malformed_tensors},
    {"has_bounds", has_bounds},
    {"is_not_caught_in_circles", is_not_caught_in_circles},
    {"refuses_every_shorter_pickle", refuses_every_shorter_pickle},
    {"survives_damage", survives_damage},
};
TEST_MAIN(tests)
