<?php

// A stand-in for Connection of picqer/exact-php-client (December 2025), whose source no registry has: it decides
// as that does when a token is due and when a request is signed, and sends the same requests.

namespace Picqer\Financials\Exact;

class Connection
{
    private array $set = ['BaseUrl' => 'https://start.exactonline.nl'];

    public function __call(string $name, array $arguments)
    {
        if (str_starts_with($name, 'set')) {
            $this->set[substr($name, 3)] = $arguments[0];
            return null;
        }
        return $this->set[substr($name, 3)] ?? null;
    }

    public function get(string $path, array $query)
    {
        if (empty($this->getAccessToken()) || $this->expired()) {
            $this->acquire();
        }
        $headers = ['Accept: application/json', 'Content-Type: application/json', 'Prefer: return=representation'];
        if ((!empty($this->getRefreshToken()) || !empty($this->getAuthorizationCode())) && !empty($this->getAccessToken())) {
            $headers[] = 'Authorization: Bearer ' . $this->getAccessToken();
        }
        $division = $path === 'current/Me' ? '' : $this->getDivision() . '/';
        $results = $this->send('GET', "/api/v1/$division$path?" . http_build_query($query), $headers)['d']['results'];
        return count($results) === 1 ? $results[0] : $results;
    }

    private function expired(): bool
    {
        return empty($this->getTokenExpires()) || $this->getTokenExpires() - 10 < time();
    }

    private function acquire(): void
    {
        if (is_callable($this->getRefreshAccessTokenCallback())) {
            ($this->getRefreshAccessTokenCallback())($this);
            if (!$this->expired()) {
                return;
            }
        }
        $client = ['client_id' => $this->getExactClientId(), 'client_secret' => $this->getExactClientSecret()];
        $form = empty($this->getRefreshToken())
            ? ['redirect_uri' => $this->getRedirectUrl(), 'grant_type' => 'authorization_code'] + $client + ['code' => $this->getAuthorizationCode()]
            : ['refresh_token' => $this->getRefreshToken(), 'grant_type' => 'refresh_token'] + $client;
        $tokens = $this->send('POST', '/api/oauth2/token', ['Content-Type: application/x-www-form-urlencoded'], http_build_query($form));
        $this->setAccessToken($tokens['access_token']);
        $this->setRefreshToken($tokens['refresh_token']);
        $this->setTokenExpires(time() + (int) $tokens['expires_in']);
    }

    private function send(string $method, string $path, array $headers, string $body = ''): array
    {
        $context = stream_context_create(['http' => ['method' => $method, 'header' => $headers, 'content' => $body, 'ignore_errors' => true]]);
        $text = file_get_contents($this->getBaseUrl() . $path, false, $context);
        if (!str_contains($http_response_header[0], ' 200')) {
            throw new \Exception("{$http_response_header[0]} at $path: $text");
        }
        return json_decode($text, true);
    }
}
