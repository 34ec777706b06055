// A program in C++ with a library of its own, which is this file with -DLIBRARY.
#include <plue_session.h>
#include <iostream>
#include <stdexcept>

void fail();

#ifdef LIBRARY
void fail()
{
    throw std::runtime_error("thrown in a library");
}
#else
int main()
{
    int code = plue_init(nullptr);
    plue_shutdown();
    try {
        fail();
    } catch (const std::exception &caught) {
        std::cout << caught.what() << std::endl;
    }
    return code;
}
#endif
