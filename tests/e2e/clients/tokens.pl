# Prints a key set and tokens made by Crypt::JWT, as tokens.py does: `keys JSON`, then lines of
# `good NAME TOKEN` and `bad NAME TOKEN`.
use strict;
use warnings;

use Crypt::JWT qw(encode_jwt);
use Crypt::PK::ECC;
use Crypt::PK::Ed25519;
use Crypt::PK::RSA;
use JSON::PP qw(encode_json decode_json);

$| = 1;
my $now    = time;
my %claims = (
    iss => 'https://id.example', aud => [ 'chat', 'mail' ], sub => 'ann', jti => 'token-1',
    iat => $now, exp => $now + 60, scope => 'read chat', org => { roles => [ 'admin', 'user' ] },
);

my $rsa = Crypt::PK::RSA->new;
$rsa->generate_key( 256, 65537 );
my %ec;
for ( [ ES256 => 'secp256r1' ], [ ES384 => 'secp384r1' ], [ ES512 => 'secp521r1' ] ) {
    my ( $name, $curve ) = @$_;
    $ec{$name} = Crypt::PK::ECC->new;
    $ec{$name}->generate_key($curve);
}
my $ed = Crypt::PK::Ed25519->new;
$ed->generate_key;

my @keys;

sub publish {
    my ( $key, $kid ) = @_;
    push @keys, { %{ decode_json( $key->export_key_jwk('public') ) }, kid => $kid };
}
publish( $rsa, 'pl-rsa' );
publish( $ed,  'pl-ed' );
publish( $ec{$_}, "pl-$_" ) for sort keys %ec;
print 'keys ', encode_json( { keys => \@keys } ), "\n";

sub token {
    my ( $kind, $name, $alg, $key, $kid, %changes ) = @_;
    my $token = encode_jwt(
        payload       => { %claims, %changes },
        alg           => $alg,
        key           => $key,
        extra_headers => { kid => $kid },
        ( $alg eq 'none' ? ( allow_none => 1 ) : () ),
    );
    print "$kind perl-$name $token\n";
}
token( 'good', $_, $_, $rsa, 'pl-rsa' ) for qw(RS256 RS384 RS512 PS256 PS384 PS512);
token( 'good', $_, $_, $ec{$_}, "pl-$_" ) for sort keys %ec;
token( 'good', 'EdDSA', 'EdDSA', $ed, 'pl-ed' );

my $other = Crypt::PK::ECC->new;
$other->generate_key('secp256r1');
token( 'bad', 'expired', 'ES256', $ec{ES256}, 'pl-ES256', exp => $now - 3600 );
token( 'bad', 'too-early', 'ES256', $ec{ES256}, 'pl-ES256', nbf => $now + 3600 );
token( 'bad', 'other-audience', 'ES256', $ec{ES256}, 'pl-ES256', aud => 'mail' );
token( 'bad', 'other-key', 'ES256', $other, 'pl-ES256' );
token( 'bad', 'none', 'none', undef, 'pl-ES256' );
token( 'bad', 'secret-is-public-key', 'HS256', $rsa->export_key_pem('public'), 'pl-rsa' );
print "done\n";
