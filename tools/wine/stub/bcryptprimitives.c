// Wine 8 has no bcryptprimitives.dll, from which Go takes its random numbers.

#include <windows.h>
#include <ntsecapi.h> // RtlGenRandom, which advapi32.dll exports as SystemFunction036

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
	return RtlGenRandom(data, (ULONG)length);
}
